"""Minibatches that are not finite, in a run with its files: skipped over a stop as without one, or the end of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lit_rl.algorithms.ppo import PPO
from lit_rl.state.plain import first_difference
from lit_rl.state.records import Counters
from tests.helpers.cli import checkpoints, final_state, lineage, metrics
from tests.runs.conftest import Cli


def spoil(monkeypatch: pytest.MonkeyPatch, when: Callable[[Counters], bool]) -> None:
    """Make the loss NaN whenever the run's counters say so."""
    loss_of: Any = PPO._loss

    def spoilt(self: PPO, *args: Any, **kwargs: Any) -> Any:
        loss, stats = loss_of(self, *args, **kwargs)
        return loss.times(math.nan) if when(self.counters) else loss, stats

    monkeypatch.setattr(PPO, "_loss", spoilt)


def test_a_run_that_skips_is_resumed_as_if_never_stopped(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, lambda counters: counters.bad_updates < counters.iterations)  # the first of each but one
    config = cli.config()
    cli("fit", "--config", config)
    cli("fit", "--config", config, "--name", "stopped", "--pause_at", 256, expect=75)
    cli("fit", "--config", config, "--name", "stopped", "--mode", "resume")
    ours, theirs = final_state(cli.run()), final_state(cli.run("stopped"))
    assert ours["counters"]["bad_updates"] == 3
    assert ours["counters"]["gradient_steps"] == 4 * 4 - 3
    for name in ours:
        assert first_difference(ours[name], theirs[name], name) is None
    rows = metrics(cli.run())
    assert rows == metrics(cli.run("stopped"))
    assert [row["train/bad_updates"] for row in rows] == ["", "1", "2", "3"]


def test_a_run_that_diverges_ends_with_one_line_and_its_last_good_checkpoint(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        spoil(patch, lambda counters: counters.timesteps > 256)
        done = cli("fit", "--config", cli.config({"model": {"init_args": {"max_bad_updates": 3}}}), expect=1)
    error = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert "3 minibatches in a row" in error[0]
    assert "Traceback" not in done.err
    assert [checkpoint.manifest.timesteps for checkpoint in checkpoints(cli.run())] == [128, 256]
    assert all(torch.isfinite(tensor).all() for tensor in final_state(cli.run())["policy"].values())
    assert lineage(cli.run())["segments"][0]["cause"].startswith("error: Diverged: ")
    # from there, with another limit even
    cli("fit", "--config", cli.config(), "--mode", "resume")
    assert checkpoints(cli.run())[-1].manifest.timesteps == 512
