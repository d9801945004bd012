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
def test_environments_in_workers_move_those_of_their_workers_alone(cli: Cli) -> None:
    config = cli.config(HIDES)
    cli("fit", "--config", config, "--name", "here")
    cli("fit", "--config", config, "--name", "there", *ASYNC)
    same(cli, "here", "there", "streams")
    here, there = (final_state(cli.run(name))["streams"] for name in ("here", "there"))
    assert first_difference(here["numpy"], there["numpy"]) is not None
    assert first_difference(here["torch"], there["torch"]) is None


def test_these_environments_do_draw(cli: Cli) -> None:
    config = cli.config(HIDES)
    cli("fit", "--config", config, "--name", "short", "--total_timesteps", 128)
    cli("fit", "--config", config, "--name", "long", "--total_timesteps", 256)
    short, long = (final_state(cli.run(name))["streams"] for name in ("short", "long"))
    for stream in ("numpy", "python"):
        assert first_difference(short[stream], long[stream]) is not None
