"""Runs of QR-DQN, TQC and CrossQ that are stopped, killed and gone on with, in one process and on two ranks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lit_rl.checkpoint.reader import load_lightning
from tests.helpers.cli import checkpoints, kill_at_random, lit_rl, metrics
from tests.runs.conftest import Cli
from tests.runs.test_off_policy import (
    BOX,
    DISCRETE,
    NORMALIZED,
    REACH,
    SMALL,
    assert_opened_there,
    config_of,
    same,
    write,
)
from tests.runs.test_off_policy_ranks import TWO

pytest.importorskip("sb3_contrib")

FEW = {**SMALL, "n_quantiles": 5}
RENORM = {**SMALL, "renorm_warmup_steps": 120}
"""Past which statistics take part in a run of `CASES`."""
CASES: dict[str, dict[str, Any]] = {
    "QRDQN, several, wrapped round": config_of("QRDQN", {**DISCRETE, "n_envs": 3}, buffer_size=200, gradient_steps=3,
                                               target_update_interval=50, policy_kwargs=FEW),
    "QRDQN, prioritized": config_of("QRDQN", {**DISCRETE, "n_envs": 2}, prioritized_replay=True, n_steps=2,
                                    target_update_interval=50, policy_kwargs=FEW),
    "TQC, moments, wrapped round": config_of("TQC", {**BOX, **NORMALIZED, "n_envs": 2}, buffer_size=150,
                                             policy_kwargs=FEW),
    "TQC, gSDE": config_of("TQC", {**BOX, "n_envs": 2}, use_sde=True, train_freq=8, gradient_steps=-1,
                           cycles_per_iteration=4, policy_kwargs=FEW),
    "TQC, hindsight": config_of("TQC", {**REACH, "n_envs": 2}, policy="MultiInputPolicy", her=True, buffer_size=150),
    "CrossQ, moments, wrapped round": config_of("CrossQ", {**BOX, **NORMALIZED, "n_envs": 2}, buffer_size=150,
                                                policy_kwargs=RENORM),
    "CrossQ, beginning anew": config_of("CrossQ", BOX, param_resets=[200], policy_kwargs=RENORM),
    "CrossQ, gSDE": config_of("CrossQ", {**BOX, "n_envs": 2}, use_sde=True, train_freq=8, gradient_steps=-1,
                              cycles_per_iteration=4, policy_kwargs=RENORM),
}  # fmt: skip
QUICK = ("QRDQN, prioritized", "TQC, moments, wrapped round", "CrossQ, moments, wrapped round")


@pytest.mark.parametrize("case", [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in CASES])
def test_three_stops_change_nothing(cli: Cli, case: str) -> None:
    config = write(cli, CASES[case])
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--pause_at", 30, expect=75)
    for pause in (150, 300):
        cli("fit", "--config", config, "--mode", "resume", "--pause_at", pause, expect=75)
    cli("fit", "--config", config, "--mode", "resume")
    same(cli.run(), cli.run("straight"))
    assert float(metrics(cli.run())[-1]["train/n_updates"]) > 5


def norms(run: Any) -> dict[str, torch.Tensor]:
    """The statistics of batch renormalisation at the end of a run."""
    state = load_lightning(checkpoints(run)[-1])["state_dict"]
    return {name: tensor for name, tensor in state.items() if name.endswith((".ra_mean", ".ra_var", ".steps"))}


def test_statistics_of_batch_renormalisation_are_kept_and_warm_started(cli: Cli) -> None:
    """They belong to the part of the network that has them."""
    config = write(cli, CASES["CrossQ, beginning anew"], total_timesteps=256)
    cli("fit", "--config", config, "--name", "first")
    first = norms(cli.run("first"))
    steps = {name: int(tensor) for name, tensor in first.items() if name.endswith("steps")}
    assert {*steps.values()} == {57, 19}, "since 200, where they began anew: the actor learns every third time"
    words = (
        "fit",
        "--config",
        config,
        "--mode",
        "warmstart",
        "--warmstart.checkpoint",
        cli.run("first"),
    )
    options = ("--total_timesteps", 20, "--model.param_resets", "null")
    cli(*words, *options, "--name", "both", "--warmstart.load", "[policy, value]")
    cli(*words, *options, "--name", "actor", "--warmstart.load", "[policy]")
    both, actor = norms(cli.run("both")), norms(cli.run("actor"))
    for name, tensor in first.items():
        assert torch.equal(both[name], tensor)
        assert torch.equal(actor[name], tensor) == (".actor." in name)


@pytest.mark.parametrize("case", ["QRDQN, prioritized", "TQC, gSDE", "CrossQ, gSDE"])
def test_contrib_opens_what_is_exported(cli: Cli, case: str) -> None:
    assert_opened_there(cli, CASES[case])


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in QUICK if not case.startswith("TQC")])  # SAC's loop
def test_kills_at_random_change_nothing(cli: Cli, case: str) -> None:
    config = write(cli, CASES[case], total_timesteps=2000, checkpoint={"every_timesteps": 64, "keep_last": 3})
    cli("fit", "--config", config, "--name", "straight")
    words = ("fit", "--config", config, "--requeue", "true")
    kill_at_random(*words, cwd=cli.cwd, run=cli.run(), seed=case, most=20)
    cli(*words)
    same(cli.run(), cli.run("straight"))


@pytest.mark.slow
@pytest.mark.parametrize("case", QUICK)
def test_verify_says_exact(cli: Cli, case: str) -> None:
    config = write(cli, CASES[case], total_timesteps=300)
    workers = ("--env.backend", "async", "--env.n_workers", 2)
    for more in ((), workers):
        done = lit_rl("verify", "--config", config, *more, cwd=cli.cwd)
        assert "exact" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in QUICK if not case.startswith("TQC")])  # SAC's loop
def test_a_stop_on_two_ranks_changes_nothing(cli: Cli, case: str) -> None:
    config = {**CASES[case], "env": {**CASES[case]["env"], "n_envs": 4}}
    words = ("fit", "--config", write(cli, config), *TWO)
    lit_rl(*words, "--name", "straight", cwd=cli.cwd)
    lit_rl(*words, "--pause_at", 200, cwd=cli.cwd, expect=75)
    lit_rl(*words, "--mode", "resume", cwd=cli.cwd)
    same(cli.run(), cli.run("straight"))
