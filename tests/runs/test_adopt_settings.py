"""What a run of stable-baselines3 was set to is what it goes on with here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env

from tests.runs.conftest import Cli

BUFFER: dict[str, Any] = {"buffer_size": 200, "learning_starts": 10, "batch_size": 8, "device": "cpu"}


def adopted(cli: Cli, model: Any, folder: Path, steps: int = 40, total: int = 100, *words: Any) -> dict[str, Any]:
    """The settings of the run that goes on with a model of stable-baselines3."""
    model.learn(steps)
    model._total_timesteps = total
    folder.mkdir(exist_ok=True)
    model.save(folder / "agent.zip")
    if hasattr(model, "save_replay_buffer"):
        model.save_replay_buffer(folder / "agent_replay_buffer.pkl")
    cli("adopt", folder, "--out", "lightning_logs/run", "--env", model.get_env().envs[0].spec.id, *words)
    config: dict[str, Any] = yaml.safe_load((cli.run() / "config.yaml").read_text())
    return config


def test_networks_of_actor_and_critic_apart(cli: Cli) -> None:
    layers = {"pi": [4], "qf": [6, 5]}
    model = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": layers}, **BUFFER)
    assert adopted(cli, model, cli.cwd / "logs")["model"]["init_args"]["policy_kwargs"]["net_arch"] == layers


def test_targets_move_as_often_as_there(cli: Cli) -> None:
    """stable-baselines3's SAC counts gradient steps from each call, and one draw of its DQN is for all environments."""
    model = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [4]}, target_update_interval=3, **BUFFER)
    own = adopted(cli, model, cli.cwd / "logs")["model"]["init_args"]
    assert (own["target_update_interval"], own["target_update_per_call"]) == (3, True)
    words = ("fit", "--config", cli.run() / "config.yaml", "--resume.fork", "true")
    message = cli.error(*words, "--model.target_update_per_call", "false")
    assert "model.target_update_per_call  True  False" in message
    cli.cwd.joinpath("lightning_logs").rename(cli.cwd / "away")
    model = DQN("MlpPolicy", make_vec_env("CartPole-v1", 2), policy_kwargs={"net_arch": [4]}, **BUFFER)
    assert adopted(cli, model, cli.cwd / "dqn")["model"]["init_args"]["share_exploration"] is True


@pytest.mark.parametrize(
    ("algorithm", "layers", "text"),
    [
        ("DQN", {"pi": [4], "vf": [4]}, "net_arch: is one list of widths, such as [64, 64]."),
        ("SAC", {"pi": [4]}, "net_arch.qf is missing; it takes pi and qf."),
        ("TD3", {"pi": [4], "vf": [4]}, "net_arch: unknown key 'vf'; it takes pi and qf."),
        ("PPO", {"pi": [4], "qf": [4]}, "net_arch: unknown key 'qf'; it takes pi and vf."),
    ],
)
def test_layers_that_an_algorithm_has_not(cli: Cli, algorithm: str, layers: dict[str, Any], text: str) -> None:
    env = "CartPole-v1" if algorithm == "DQN" else "Pendulum-v1"
    model = {"class_path": algorithm, "init_args": {"policy_kwargs": {"net_arch": layers}}}
    path = cli.cwd / "run.yaml"
    path.write_text(yaml.safe_dump({"env": {"id": env}, "model": model}))
    assert cli.error("fit", "--config", path) == f"model.policy_kwargs.{text}"


def test_the_target_is_what_learn_was_told_and_not_the_zoos(cli: Cli) -> None:
    """`rl_zoo3.train -n 100` leaves the n_timesteps of its hyperparameters in config.yml."""
    folder = cli.cwd / "logs"
    (folder / "agent").mkdir(parents=True)
    block = (
        "!!python/object/apply:collections.OrderedDict\n- - - n_timesteps\n    - 60.0\n  - - policy\n    - MlpPolicy\n"
    )
    (folder / "agent" / "config.yml").write_text(block)
    model = TD3("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [4]}, **BUFFER)
    assert adopted(cli, model, folder)["total_timesteps"] == 100


def test_evaluations_go_on_as_often(cli: Cli) -> None:
    folder = cli.cwd / "logs"
    folder.mkdir()
    np.savez(folder / "evaluations.npz", timesteps=[10, 20, 50], results=np.zeros((3, 4)), ep_lengths=np.ones((3, 4)))
    model = TD3("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [4]}, **BUFFER)
    own = adopted(cli, model, folder)["eval"]
    assert (own["every"], own["episodes"]) == (10, 4)
