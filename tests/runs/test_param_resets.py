"""Whole runs whose networks begin anew: a stop before, at or after one changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from lit_rl.cli.dispatch import run_command
from lit_rl.state.plain import first_difference
from tests.helpers.cli import final_state, metrics
from tests.runs.conftest import Cli
from tests.runs.test_off_policy import BOX, DISCRETE, NORMALIZED, config_of, same, write

ONE = {"train_freq": 1, "cycles_per_iteration": 1}
CASES: dict[str, dict[str, Any]] = {
    "DQN, dueling": config_of("DQN", DISCRETE, 160, **ONE, dueling=True, param_resets=[60, 90]),
    "DQN, several": config_of("DQN", {**DISCRETE, "n_envs": 3}, 160, **ONE, n_steps=3, param_resets=[60, 91]),
    "SAC": config_of("SAC", {**BOX, **NORMALIZED}, 160, **ONE, param_resets=[60, 90], learning_rate="lin_1e-2"),
    "SAC, gSDE": config_of("SAC", {**BOX, "n_envs": 2}, 160, use_sde=True, train_freq=5, cycles_per_iteration=1,
                           gradient_steps=-1, param_resets=[60, 90]),
    "TD3": config_of("TD3", BOX, 160, **ONE, noise_type="normal", policy_delay=3, param_resets=[60, 90]),
    "DDPG": config_of("DDPG", BOX, 160, **ONE, noise_type="ornstein-uhlenbeck", param_resets=[60, 90]),
}  # fmt: skip
QUICK = ("DQN, dueling", "SAC")


@pytest.mark.parametrize("case", [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in CASES])
def test_stops_around_a_reset_change_nothing(cli: Cli, case: str) -> None:
    """Before it, at its update and after it; and with the second one between two stops."""
    config = write(cli, CASES[case])
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--pause_at", 57, expect=75)
    for pause in (59, 60, 61, 89):
        cli("fit", "--config", config, "--mode", "resume", "--pause_at", pause, expect=75)
    cli("fit", "--config", config, "--mode", "resume")
    same(cli.run(), cli.run("straight"))
    done = [int(float(row["train/param_resets"] or 0)) for row in metrics(cli.run())]
    assert [done.count(i) > 0 for i in range(4)] == [True, True, True, False]


@pytest.mark.slow
def test_nothing_depends_on_the_length_of_an_iteration(cli: Cli) -> None:
    config = write(cli, CASES["SAC"])
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--model.cycles_per_iteration", 7)
    ours, theirs = final_state(cli.run()), final_state(cli.run("straight"))
    assert ours["resets"] == theirs["resets"] == {"done": 2, "looked_at": 160}
    for name in ours.keys() - {"callbacks", "best"}:  # both are of iterations
        assert first_difference(ours[name], theirs[name], name) is None


@pytest.mark.slow
def test_verify_finds_it_exact(cli: Cli) -> None:
    config = write(cli, {**CASES["SAC"], "total_timesteps": 100})
    assert run_command(["verify", "--config", str(config)]) == 0


def test_a_list_may_change_with_the_word_for_it(cli: Cli) -> None:
    """What lies behind is not done again, and what is new ahead is done."""
    config = write(cli, CASES["TD3"])
    cli("fit", "--config", config, "--pause_at", 100, expect=75)
    words = ("fit", "--config", config, "--mode", "resume", "--model.param_resets", "[20, 95, 120]")
    assert "param_resets" in cli.error(*words)
    cli(*words, "--resume.on_config_change", "accept")
    assert final_state(cli.run())["resets"] == {"done": 3, "looked_at": 160}


@pytest.mark.parametrize(("given", "said"), [
    ("[60, 50]", "model.param_resets: 50 comes after 60; give increasing timesteps."),
    ("[60, 160]", "model.param_resets: 160 is not below total_timesteps: 160; remove it or train longer."),
    ("[0]", "model.param_resets[0] is 0; it must be at least 1."),
])  # fmt: skip
def test_mistakes_are_one_line(cli: Cli, given: str, said: str) -> None:
    config = write(cli, CASES["SAC"])
    assert cli.error("fit", "--config", config, "--model.param_resets", given) == said
