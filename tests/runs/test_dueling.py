"""Whole runs of a dueling DQN: stopped, begun from another's weights, and what cannot be done with one."""

from __future__ import annotations

import pytest
import torch

from lit_rl import DQN
from lit_rl.cli.dispatch import run_command
from tests.helpers.cli import final_state
from tests.runs.conftest import Cli
from tests.runs.test_off_policy import DISCRETE, config_of, same, write

DUELING = config_of("DQN", DISCRETE, dueling=True, double_q=True, target_update_interval=50)


def test_a_stop_changes_nothing(cli: Cli) -> None:
    config = write(cli, DUELING)
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--pause_at", 200, expect=75)
    cli("fit", "--config", config, "--mode", "resume")
    same(cli.run(), cli.run("straight"))
    assert "policy.q_net.q_net.advantage.0.weight" in final_state(cli.run())["policy"]


@pytest.mark.slow
def test_verify_finds_it_exact(cli: Cli) -> None:
    config = write(cli, DUELING)
    assert run_command(["verify", "--config", str(config)]) == 0


def test_its_weights_begin_another_and_are_opened_from_python(cli: Cli) -> None:
    config = write(cli, DUELING, total_timesteps=128)
    cli("fit", "--config", config, "--name", "trained")
    trained = DQN.load_from_checkpoint(cli.run("trained"))
    done = cli("fit", "--config", config, "--mode", "warmstart", "--warmstart.checkpoint", cli.run("trained"),
               "--model.learning_starts", 128)  # fmt: skip
    assert "policy: " in done.out
    begun = DQN.load_from_checkpoint(cli.run())
    for name, tensor in trained.policy.q_net.state_dict().items():
        assert torch.equal(tensor, begun.policy.q_net.state_dict()[name])


def test_a_run_stays_dueling(cli: Cli) -> None:
    config = write(cli, DUELING)
    cli("fit", "--config", config, "--pause_at", 128, expect=75)
    words = ("fit", "--config", config, "--mode", "resume", "--model.dueling", "false")
    for choice in ("error", "accept"):
        said = cli.error(*words, "--resume.on_config_change", choice)
        assert "cannot change when a run is resumed" in said
        assert "model.dueling  True  False" in said


def test_plain_weights_do_not_begin_a_dueling_one(cli: Cli) -> None:
    config = write(cli, DUELING, total_timesteps=64)
    cli("fit", "--config", config, "--model.dueling", "false")
    words = ("--mode", "warmstart", "--warmstart.checkpoint", cli.run())
    said = cli.error("fit", "--config", config, *words)
    assert "policy.q_net.q_net." in said
    assert len(said.splitlines()) == 1


def test_stable_baselines3_has_none(cli: Cli) -> None:
    config = write(cli, DUELING, total_timesteps=64)
    cli("fit", "--config", config)
    said = cli.error("export-sb3", cli.run(), "--out", "agent.zip")
    assert said == (
        "export-sb3: model.dueling is true, and stable-baselines3 has no dueling network; only a run with "
        "model.dueling: false can be written for it."
    )
