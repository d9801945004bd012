"""`lit-rl play`: a video of every algorithm's policy, captions in its frames, and a run that stays as it was."""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from tests.helpers.cli import ROOT
from tests.inference.conftest import ALGORITHMS
from tests.runs.conftest import Cli

ffmpeg = pytest.importorskip("imageio_ffmpeg")
cv2 = pytest.importorskip("cv2")
pytest.importorskip("pygame")

ZIP = next((ROOT / "tests" / "data").rglob("Pendulum-v1.zip"))


def frames(video: Path) -> list[np.ndarray]:
    reader = ffmpeg.read_frames(str(video))
    width, height = next(reader)["size"]
    return [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]


def contents(run: Path) -> dict[str, str]:
    files = [path for path in sorted(run.rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def lengths(out: str) -> list[int]:
    return [int(line.split("length ")[1].split()[0]) for line in out.splitlines() if line.startswith("episode ")]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_video_has_a_frame_of_every_moment(cli: Cli, trained: Callable[..., Path], name: str) -> None:
    run = trained(name)
    before = contents(run)
    streams = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    done = cli("play", run, "--video", cli.cwd / "out.mp4", "--episodes", 2)
    assert contents(run) == before
    assert random.getstate() == streams[0]
    assert np.array_equal(np.random.get_state()[1], streams[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), streams[2])
    shown = frames(cli.cwd / "out.mp4")
    assert len(shown) == sum(lengths(done.out)) + 2  # each episode's first moment too
    assert [path.name for path in cli.cwd.iterdir()] == ["out.mp4"]


def test_the_caption_is_in_the_frame(cli: Cli, trained: Callable[..., Path]) -> None:
    cli("play", trained("PPO"), "--video", cli.cwd / "out.mp4", "--episodes", 1)
    first, *_, last = frames(cli.cwd / "out.mp4")
    band = slice(0, 48)
    assert first[band].max() > 150
    assert np.median(first[band]) < 60
    assert np.abs(first[band].astype(int) - last[band]).max() > 80, "return and timestep have changed"


def test_seed_and_stochastic_choose_what_is_played(cli: Cli, trained: Callable[..., Path]) -> None:
    run, out = trained("A2C"), {}
    for i, words in enumerate([(), ("--seed", 5), ("--seed", 5), ("--seed", 5, "--stochastic")]):
        done = cli("play", run, "--video", cli.cwd / f"{i}.mp4", "--episodes", 1, *words)
        out[i] = next(line for line in done.out.splitlines() if line.startswith("episode 1"))
    assert out[0] != out[1] == out[2] != out[3]


def test_levels_by_name_and_index(cli: Cli, trained: Callable[..., Path]) -> None:
    config = yaml.safe_load((ROOT / "tests" / "data" / "up_and_down.yaml").read_text())
    run = trained("levels", {**config, "name": "run", "total_timesteps": 256})
    for level, longest in (("near", 30), ("0", 30), ("end", 61)):
        out = cli("play", run, "--video", cli.cwd / "o.mp4", "--overwrite", "--episodes", 1, "--level", level).out
        assert lengths(out)[0] <= longest
    message = cli.error("play", run, "--video", "o.mp4", "--overwrite", "--level", "nere")
    assert message == "--level: 'nere' is none of near, far, end, nor an index from 0 to 2. Did you mean 'near'?"


def test_on_a_screen(cli: Cli, trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    assert len(lengths(cli("play", trained("DQN"), "--episodes", 2).out)) == 2


@pytest.mark.parametrize("words", [("--video", "out.mp4"), ()])
def test_what_pictures_are_drawn_with_may_be_missing(
    cli: Cli, trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    run = trained("PPO")
    monkeypatch.setitem(sys.modules, "pygame", None)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    message = cli.error("play", run, *words)
    assert message.startswith("play: env CartPole-v1 needs a package that is not installed: pygame")
    assert message.endswith("Install it with `pip install 'lit-rl[video]'`.")
    assert not Path("out.mp4").exists()


def test_a_zip_with_the_configuration_that_is_made_for_it(cli: Cli) -> None:
    video = ("--video", cli.cwd / "out.mp4", "--episodes", 1)
    assert "does not say which environment it is for" in cli.error("play", ZIP, *video)
    cli("import-sb3", ZIP, "--out", cli.cwd / "run.yaml")
    assert "episode 1: return" in cli("play", ZIP, "--config", cli.cwd / "run.yaml", *video).out
    other = yaml.safe_load((cli.cwd / "run.yaml").read_text())
    other["env"]["id"] = "CartPole-v1"
    (cli.cwd / "other.yaml").write_text(yaml.safe_dump(other))
    words = ("--config", cli.cwd / "other.yaml", "--video", cli.cwd / "2.mp4")
    assert "observation space is Box(3,) float32, and env CartPole-v1 has Box(4,)" in cli.error("play", ZIP, *words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--video", "out.avi"), "does not end with .mp4"),
        (("--video", "there.mp4"), "is there already; name another file, or give --overwrite"),
        (("--video", "nowhere/out.mp4"), "no file in a directory that is there"),
        (("--video", "out.mp4", "--episodes", "0"), "--episodes: is 0"),
        (("--video", "out.mp4", "--seed", "-1"), "--seed: is -1"),
        (("--video", "out.mp4", "--level", "far"), "the run has no curriculum"),
        ((), "there is no screen here (no DISPLAY); give --video out.mp4"),
        (("nope",), "'nope' is not there"),
    ],
)
def test_mistakes_are_one_line(
    cli: Cli, trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    Path("there.mp4").write_text("somebody's")
    message = cli.error("play", *([] if words == ("nope",) else [trained("PPO")]), *words)
    assert says in message
    assert "\n" not in message


def test_an_environment_that_cannot_be_shown_is_said(cli: Cli, trained: Callable[..., Path]) -> None:
    config: dict[str, Any] = {"env": {"class_path": "tests.helpers.envs.StartsAtOne", "n_envs": 2}}
    run = trained("unseen", config)
    assert "play: env tests.helpers.envs.StartsAtOne" in cli.error("play", run, "--video", cli.cwd / "out.mp4")
