"""An algorithm in one file outside the package, with a replay buffer and two optimizers of its own (helpers/outsider).

Nothing of the package names it: it trains, is verified exact, resumes, warm-starts and evaluates; and where it forgets
to name a part of its state, it is told so in a line before anything is lost.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lit_rl.checkpoint.reader import load_lightning
from lit_rl.state.plain import first_difference
from tests.helpers import outsider
from tests.helpers.cli import ROOT, checkpoints, final_state, lineage, lit_rl, metrics
from tests.helpers.on_policy import iterate, make
from tests.runs.conftest import Cli

PATH = "tests.helpers.outsider."
OVER: dict[str, Any] = {
    "env": {"id": "Pendulum-v1", "n_envs": 2, "max_episode_steps": 30, "normalize": {"obs": True, "reward": True}},
    "checkpoint": {"every_timesteps": 64},
    "eval": {"every": 128, "episodes": 1},
}


def config_of(cli: Cli, name: str = "TinyDDPG", **init_args: Any) -> Path:
    """The CartPole configuration made one of this algorithm, whose settings are others."""
    import yaml

    path = cli.config({**OVER, "total_timesteps": 256})
    config = yaml.safe_load(path.read_text())
    config["model"] = {"class_path": PATH + name, "init_args": init_args}
    path.write_text(yaml.safe_dump(config))
    return path


def test_nothing_of_the_package_names_it() -> None:
    words = [name for name, cls in inspect.getmembers(outsider, inspect.isclass) if cls.__module__ == outsider.__name__]
    for path in (ROOT / "lit_rl").rglob("*.py"):
        assert not any(word in path.read_text() for word in ("TinyDDPG", "outsider", "ForgetsReplay"))
    assert {"TinyDDPG", "Replay"} <= set(words)


def test_it_learns() -> None:
    """A bandit of continuous actions: the reward is greatest at 0.8 times what is seen, plus 0.5."""
    env = {"class_path": "tests.helpers.envs.Aim", "n_envs": 4}
    module = make(outsider.TinyDDPG, env, learning_rate=3e-3, noise=0.5, seed=1, cycles_per_iteration=100)
    first = iterate(module)["rollout/ep_rew_mean"]
    iterate(module, 12)
    aims = np.linspace(-0.9, 0.9, 7, dtype=np.float32)[:, None]
    np.testing.assert_allclose(module.policy_actions(aims), 0.8 * aims + 0.5, atol=0.2)
    assert module.metrics["rollout/ep_rew_mean"] > first


def test_it_trains_resumes_and_is_the_same(cli: Cli) -> None:
    config = config_of(cli)
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--name", "stopped", "--pause_at", 96, expect=75)
    done = cli("fit", "--config", config, "--name", "stopped", "--mode", "resume")
    assert "loaded: policy, value, optimizer" in done.out
    ours, theirs = final_state(cli.run("straight")), final_state(cli.run("stopped"))
    assert ours["replay"]["count"] == 256
    assert {"policy", "critic", "target", "replay", "optimizer"} <= ours.keys()
    for name in ours:
        assert first_difference(ours[name], theirs[name], name) is None
    assert metrics(cli.run("straight")) == metrics(cli.run("stopped"))
    assert len(metrics(cli.run("straight"))) == 8
    assert metrics(cli.run("straight"))[-1]["eval/mean_reward"]


def test_its_parts_are_shown_and_checked(cli: Cli) -> None:
    cli("fit", "--config", config_of(cli))
    assert "replay" in cli("show", cli.run()).out
    assert "good" in cli("verify-checkpoint", cli.run()).out
    done = cli("test", "--config", config_of(cli), "--episodes", 2)
    assert "return: mean" in done.out


def test_a_new_run_starts_from_its_weights(cli: Cli) -> None:
    config = config_of(cli)
    cli("fit", "--config", config)
    warm = ("--mode", "warmstart", "--warmstart.checkpoint", cli.run(), "--name", "warm")
    still = ("--model.learning_rate", 0, "--model.tau", 0, "--pause_at", 1)
    done = cli("fit", "--config", config, *warm, *still, expect=75)
    assert "policy: 4 tensors loaded" in done.out
    assert "value: 12 tensors loaded" in done.out
    before, after = (load_lightning(checkpoints(cli.run(name))[-1])["state_dict"] for name in ("run", "warm"))
    for name in before:
        if not name.startswith("normalizer."):
            assert torch.equal(before[name], after[name]), name
    assert final_state(cli.run("warm"))["replay"]["count"] == 32, "a new run has a new buffer"
    assert lineage(cli.run("warm"))["mode"] == "warmstart"
    assert "warmstart.load: 'critc' is not one of policy, value" in cli.error(
        "fit", "--config", config, *warm, "--warmstart.load", "[critc]"
    )


def test_its_settings_are_compared_at_a_resume(cli: Cli) -> None:
    config = config_of(cli)
    cli("fit", "--config", config, "--pause_at", 96, expect=75)
    assert "cannot change" in cli.error("fit", "--config", config, "--mode", "resume", "--model.capacity", 400)
    message = cli.error("fit", "--config", config, "--mode", "resume", "--model.noise", 0.1)
    assert "model.noise" in message
    assert "resume.on_config_change: accept" in message
    cli("fit", "--config", config, "--mode", "resume", "--model.cycles_per_iteration", 4)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ForgetsReplay", "ForgetsReplay.memory has a state and is not named in PARTS, so a resume would lose it; "),
        ("ForgetsCount", "ForgetsCount.steps_of_noise changes in training and is no part of the run's state, so a "),
    ],
)
def test_a_forgotten_part_is_said_in_one_line(cli: Cli, name: str, text: str) -> None:
    done = cli("fit", "--config", config_of(cli, name), expect=2)
    lines = done.err.strip().splitlines()
    assert lines[0].startswith(f"error: {text}")
    assert len(lines) == 1
    assert not list((cli.run() / "checkpoints").glob("t*"))


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_verify_finds_it_exact(cli: Cli) -> None:
    words = ("verify", "--config", config_of(cli), "--iterations", 6, "--stops", 3, "--keep", cli.cwd / "kept")
    done = lit_rl(*words, cwd=cli.cwd)
    assert "exact: every part of the state is equal to the bit" in done.stdout
    assert "replay" in done.stdout
