"""Playing for somebody to look at: an environment of its own, rendered, that leaves everything else as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from lit_rl.curriculum.assignment import Tasks, parameters
from lit_rl.curriculum.delivery import deliver
from lit_rl.curriculum.levels import shown_of
from lit_rl.curriculum.shown import Shown
from lit_rl.data.episode import Episode
from lit_rl.data.task import Task
from lit_rl.envs.build import lacks, make_env
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.masks import Mask
from lit_rl.envs.monitor import EpisodeMonitor
from lit_rl.envs.own_streams import OwnStreams
from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.ops.streams import EpisodeSeeds, generator
from lit_rl.ops.tree import tree_map
from lit_rl.state.space import describe
from lit_rl.state.streams import capture_streams, restore_streams
from lit_rl.training.module import RLModule


@dataclass(frozen=True)
class Moment:
    """What is to be seen at one step.

    Args:
        frame: uint8 [H, W, 3]; `None` where the environment shows itself on a screen.
        ret: return of the episode so far, in the environment's own rewards.
        timestep: steps of the episode so far.
        episode: its number, from 1.
    """

    frame: np.ndarray | None
    ret: float
    timestep: int
    episode: int


def level_of(module: RLModule, wanted: str | None) -> int:
    """Index of the level that a name or an index means; for `None` the current one, or the last if none is current.

    Raises:
        ConfigError: there is no such level.
    """
    if module.curriculum is None:
        if wanted is not None:
            raise ConfigError("--level: the run has no curriculum; remove it.")
        return 0
    if wanted is None:
        current = module.curriculum.current
        return len(module.levels) - 1 if current is None else current
    names = [level.name for level in module.levels]
    if wanted in names:
        return names.index(wanted)
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    raise ConfigError(
        f"--level: '{wanted}' is none of {', '.join(names)}, nor an index from 0 to {len(names) - 1}."
        f"{did_you_mean(wanted, names)}"
    )


class Stage:
    """One environment of the run's kind, made to be looked at.

    Args:
        module: whose policy plays.
        render_mode: `rgb_array` or `human`.
        level: index of the curriculum's level; 0 without one.

    Raises:
        ConfigError: the environment cannot be made or shown, or is another than the policy's.
    """

    def __init__(self, module: RLModule, render_mode: str, level: int = 0) -> None:
        if module.play.foreign is not None:
            raise ConfigError(
                f"play: the checkpoint names {module.play.foreign}; name it in a YAML: --config run.yaml."
            )
        self._module = module
        self._level, self._render_mode = level, render_mode
        self._tasks = Tasks(module.levels, module.seed, 0)
        if module.curriculum is not None:
            self._tasks.assignment = module.curriculum.evaluated(level, module.counters.timesteps)
        self._made_with: dict[str, Any] | None = None
        self._env: gym.Env[Any, Any]
        self._monitor: EpisodeMonitor
        self._take(self._tasks.on(level, 0))
        self._check_spaces()

    def _take(self, task: Task) -> None:
        """Give the environment the task of its next episode; it is made anew where it has to be."""
        module = self._module
        if not module.levels:
            if self._made_with is None:
                self._make({})
            return
        played = self._tasks.played(task)
        if played.env_kwargs != self._made_with:
            self._make(played.env_kwargs)
        deliver(self._env, played)
        shown = shown_of(module.levels)
        if shown is not None:
            self._monitor.shown = shown.of(task.level, parameters(played))
        self._monitor.task = task

    def _make(self, own: dict[str, Any]) -> None:
        if self._made_with is not None:
            self._env.close()
        config, shown = self._module.env_config.with_kwargs(own), shown_of(self._module.levels)
        self._env, self._monitor = _rendered(config, self._render_mode, shown)
        self._mask = Mask(self._env, config.name) if config.action_masks else None
        self._monitor.longest, self._made_with = self._module.eval_config.max_episode_steps, own

    @property
    def fps(self) -> float:
        """Frames per second at which it goes at its own speed."""
        fps = float(self._env.metadata.get("render_fps") or 30)
        return fps / 4 if self._module.env_config.atari else fps  # a step is four frames of the game

    def _check_spaces(self) -> None:
        for what, theirs, made in (
            ("observation", self._module.observation_space, self._env.observation_space),
            ("action", self._module.action_space, self._env.action_space),
        ):
            if describe(theirs) != describe(made):
                self._env.close()
                name = self._module.env_config.name
                raise ConfigError(
                    f"play: the policy's {what} space is {describe(theirs)}, and env {name} has {describe(made)}; give "
                    "its own environment with --config."
                )

    def play(self, episodes: int, seed: int, drawn: bool, show: Callable[[Moment], None]) -> list[Episode]:
        """Play whole episodes; global random streams are put back.

        Args:
            episodes: how many.
            seed: of the episodes, and of drawn actions.
            drawn: whether actions are drawn from the policy; otherwise they are the most likely ones.
            show: is given every moment, the first of each episode included.

        Raises:
            ConfigError: what the environment draws its pictures with is not installed.
        """
        streams, seeds = capture_streams(), EpisodeSeeds(seed, 0, "play")
        rng = generator(seed, "play_actions") if drawn else None
        try:
            return [self._episode(number, seeds[number], rng, show) for number in range(episodes)]
        except gym.error.DependencyNotInstalled as error:  # an environment asks for it at its first picture
            raise ConfigError(f"play: env {self._module.env_config.name} {lacks(error)}") from None
        finally:
            restore_streams(streams)

    def _episode(
        self, number: int, seed: int, rng: np.random.Generator | None, show: Callable[[Moment], None]
    ) -> Episode:
        OwnStreams.seed(seed)
        self._take(self._tasks.on(self._level, seed))
        env, monitor = self._env, self._monitor
        obs, _ = env.reset(seed=seed)
        show(self._moment(number))
        memory, begun = None, True
        while not monitor.finished:
            action, memory = self._action(obs, rng, memory, begun)
            obs, _, terminated, truncated, _ = env.step(action)
            show(self._moment(number))
            begun = bool(terminated or truncated)
            if begun and not monitor.finished:  # a lost life: the game goes on
                obs, _ = env.reset()
        return monitor.finished.pop()

    def _action(self, obs: Any, rng: np.random.Generator | None, memory: Any, begun: bool) -> tuple[Any, Any]:
        """What the policy does now, and what it remembers after that."""
        module = self._module
        policy_obs = module.normalizer.normalize_obs(tree_map(lambda part: np.asarray(part)[None], obs))
        masks = None if self._mask is None else self._mask.look()[None]
        actions, memory = module.policy_step(policy_obs, rng, memory, np.array([begun]), masks, exploring=False)
        return actions.astype(module.action_space.dtype)[0], memory

    def _moment(self, number: int) -> Moment:
        frame: Any = self._env.render() if self._env.render_mode == "rgb_array" else None
        if self._env.render_mode == "rgb_array" and not _is_picture(frame):
            raise ConfigError(f"play: env {self._module.env_config.name} renders no picture; it has nothing to film.")
        return Moment(frame, self._monitor.ret, self._monitor.length, number + 1)

    def close(self) -> None:
        """End the environment."""
        self._env.close()


def _is_picture(frame: Any) -> bool:
    return isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3


def _rendered(config: EnvConfig, render_mode: str, shown: Shown | None) -> tuple[gym.Env[Any, Any], EpisodeMonitor]:
    try:
        env, monitor = make_env(config.with_kwargs({"render_mode": render_mode}), shown=shown)
    except ConfigError as error:
        if "render_mode" in str(error):
            raise ConfigError(f"play: env {config.name} takes no render_mode: it cannot be shown.") from None
        raise
    if env.render_mode != render_mode:
        modes = env.metadata.get("render_modes") or ["nothing"]
        env.close()
        raise ConfigError(
            f"play: env {config.name} cannot render '{render_mode}' but {', '.join(map(str, modes))}; "
            f"{'leave --video out' if render_mode == 'rgb_array' else 'give --video out.mp4'}, or another environment."
        )
    return env, monitor
