"""`play`: watch a policy, on a screen or in a video."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lit_rl.errors import EXIT_OK, ConfigError

if TYPE_CHECKING:
    from lit_rl.inference.agent import Agent
    from lit_rl.inference.playing import Moment

SUMMARY = "watch a policy play, on a screen or in a video"
ORDER = 35


def main(argv: list[str]) -> int:
    """Run ``lit-rl play``."""
    if not _has_screen():
        os.environ.setdefault("MUJOCO_GL", "egl")  # read as MuJoCo is imported
    from lit_rl.cli.agents import add_agent_arguments, agent_of
    from lit_rl.cli.quiet import quiet
    from lit_rl.inference.playing import Stage, level_of

    quiet()
    parser = argparse.ArgumentParser(
        prog="lit-rl play",
        description="Play whole episodes with a policy, on a screen, or in a video with return, timestep and level in "
        "every frame. Nothing of the run is changed.",
    )
    add_agent_arguments(parser)
    parser.add_argument("--video", help="the .mp4 to write, without a screen; by default a window is opened")
    parser.add_argument("--overwrite", action="store_true", help="replace a video that is there already")
    parser.add_argument("--episodes", type=int, default=3, help="how many; 3 by default")
    parser.add_argument("--level", help="of the curriculum, by name or index; by default the run's current one")
    parser.add_argument("--stochastic", action="store_true", help="draw actions; by default the most likely are taken")
    parser.add_argument("--seed", type=int, help="of the episodes and drawn actions; by default the run's")
    arguments = parser.parse_args(argv)
    video = _checked(arguments)
    if video is not None:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws without looking for a screen

    agent = agent_of(arguments)
    if video is None and not _has_screen():
        raise ConfigError("play: there is no screen here (no DISPLAY); give --video out.mp4.")
    module = agent.module
    if module.env_config.id is None and module.env_config.class_path is None:
        raise ConfigError(
            f"play: {agent.path} does not say which environment it is for; give one with --config, such as the file "
            f"that `lit-rl import-sb3 {agent.path} --out run.yaml` writes."
        )
    level = level_of(module, arguments.level)
    seed = module.seed if arguments.seed is None else arguments.seed
    stage = Stage(module, "human" if video is None else "rgb_array", level)
    try:
        if video is None:
            episodes = stage.play(arguments.episodes, seed, arguments.stochastic, lambda moment: None)
        else:
            from lit_rl.inference.video import Film

            with Film(video, stage.fps) as film:
                episodes = stage.play(
                    arguments.episodes,
                    seed,
                    arguments.stochastic,
                    lambda moment: film.add(moment.frame, _caption(agent, level, moment)),
                )
    finally:
        stage.close()
    print(agent)
    for number, episode in enumerate(episodes, 1):
        print(f"episode {number}: return {episode.ret:.6g}, length {episode.length}{' (cut)' * episode.cut}")
    if video is not None:
        print(f"wrote {video}")
    return EXIT_OK


def _caption(agent: Agent, level: int, moment: Moment) -> list[str]:
    """Two lines: how the episode stands, and who plays on which level."""
    levels = agent.module.levels
    on = f"level {level}: {levels[level].name}   " if levels else ""
    now = f"return {moment.ret:.1f}   timestep {moment.timestep}   episode {moment.episode}"
    return [now, f"{on}{agent.algorithm}, {agent.timesteps:,} timesteps"]


def _checked(arguments: argparse.Namespace) -> Path | None:
    """The video's path; `None` for a screen.

    Raises:
        ConfigError: an option is wrong.
    """
    if arguments.episodes < 1:
        raise ConfigError(f"--episodes: is {arguments.episodes}; it must be at least 1.")
    if arguments.seed is not None and not 0 <= arguments.seed < 2**32:
        raise ConfigError(f"--seed: is {arguments.seed}; it must be at least 0 and below 2**32.")
    if arguments.video is None:
        return None
    video = Path(arguments.video)
    if video.suffix != ".mp4":
        raise ConfigError(f"--video: {video} does not end with .mp4; name such a file.")
    if video.is_dir() or not video.absolute().parent.is_dir():
        raise ConfigError(f"--video: {video} is no file in a directory that is there.")
    if video.exists() and not arguments.overwrite:
        raise ConfigError(f"--video: {video} is there already; name another file, or give --overwrite.")
    return video


def _has_screen() -> bool:
    return sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    )
