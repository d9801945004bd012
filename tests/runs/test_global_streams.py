"""Environments that draw from NumPy's and Python's global streams: those are saved, and put back after everything else.

What they draw here is seen in nothing but the streams themselves, so that a stream that is moved by a replay, by an
evaluation or by a worker shows in the last bit of the state and nowhere else.
"""

from __future__ import annotations

from typing import Any

import pytest

from lit_rl.state.plain import first_difference
from tests.helpers import envs
from tests.helpers.cli import final_state
from tests.runs.conftest import Cli

HIDES: dict[str, Any] = {"env": {"id": None, "class_path": envs.PATH + "HidesGlobal", "max_episode_steps": 30}}
ASYNC = ("--env.backend", "async", "--env.n_workers", 2)


def same(cli: Cli, one: str, other: str, *but: str) -> None:
    ours, theirs = final_state(cli.run(one)), final_state(cli.run(other))
    for name in ours.keys() - set(but):
        assert first_difference(ours[name], theirs[name], name) is None


@pytest.mark.parametrize("backend", ["sync", pytest.param("async", marks=pytest.mark.workers)])
def test_a_resume_puts_them_back_after_the_environments(cli: Cli, backend: str) -> None:
    """Bringing environments back plays their episodes again, which draws."""
    words = ("fit", "--config", cli.config(HIDES), *(ASYNC if backend == "async" else ()))
    cli(*words, "--name", "straight")
    for at in (128, 384):
        cli(*words, "--name", f"stopped{at}", "--pause_at", at, expect=75)
        done = cli(*words, "--name", f"stopped{at}", "--mode", "resume")
        assert "could not be brought back" not in done.out
        same(cli, "straight", f"stopped{at}")


def test_an_evaluation_leaves_them_as_they_were(cli: Cli) -> None:
    config = cli.config(HIDES)
    cli("fit", "--config", config, "--name", "without")
    cli("fit", "--config", config, "--name", "with", "--eval.every", 128, "--eval.episodes", 3)
    drawn = ("--eval.every", 128, "--eval.episodes", 3, "--eval.deterministic", "false")
    cli("fit", "--config", config, "--name", "drawn", *drawn)
    same(cli, "without", "with", "evaluation", "best")
    same(cli, "without", "drawn", "evaluation", "best")


@pytest.mark.workers
def test_environments_have_their_own_in_this_process_and_in_workers(cli: Cli) -> None:
    """What they draw is the same in both, and moves nothing of the process's own."""
    config = cli.config({"env": {"id": None, "class_path": envs.PATH + "GlobalPrize", "max_episode_steps": 12}})
    for name, words in {"here": (), "there": ASYNC, "one": (*ASYNC[:2], "--env.n_workers", 1)}.items():
        done = cli("fit", "--config", config, "--name", name, *words)
        assert "they draw from global random streams, and each has its own" in done.out
    same(cli, "here", "there")
    same(cli, "here", "one")
    cli("fit", "--config", config, "--name", "other", "--seed_everything", 2)
    here, other = (final_state(cli.run(name))["episodes"] for name in ("here", "other"))
    assert first_difference(here, other, "episodes") is not None


@pytest.mark.parametrize("backend", ["sync", pytest.param("async", marks=pytest.mark.workers)])
def test_what_they_draw_comes_back_with_their_episodes(cli: Cli, backend: str) -> None:
    config = cli.config({"env": {"id": None, "class_path": envs.PATH + "GlobalNoise", "max_episode_steps": 12}})
    words = ("fit", "--config", config, *(ASYNC if backend == "async" else ()))
    cli(*words, "--name", "straight")
    cli(*words, "--name", "stopped", "--pause_at", 128, expect=75)
    done = cli(*words, "--name", "stopped", "--mode", "resume")
    assert "could not be brought back" not in done.out
    same(cli, "straight", "stopped")


def test_those_of_the_process_can_be_shared_still(cli: Cli) -> None:
    config = cli.config(HIDES)
    for name, steps in (("short", 128), ("long", 256)):
        shared = ("--env.global_streams", "shared", "--total_timesteps", steps)
        cli("fit", "--config", config, "--name", name, *shared)
    short, long = (final_state(cli.run(name))["streams"] for name in ("short", "long"))
    for stream in ("numpy", "python"):
        assert first_difference(short[stream], long[stream]) is not None
