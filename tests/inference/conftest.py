"""A small trained run of every algorithm, made once."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lit_rl.cli.dispatch import run_command
from tests.helpers.cli import CARTPOLE, run_directory
from tests.runs.conftest import cli  # noqa: F401

SHORT: dict[str, Any] = {"total_timesteps": 128, "checkpoint": {"every_timesteps": 64}}
PENDULUM = {"id": "Pendulum-v1", "n_envs": 2, "max_episode_steps": 30, "normalize": {"obs": True, "reward": True}}
OFF_POLICY = {
    "policy_kwargs": {"net_arch": [8]},
    "learning_starts": 32,
    "buffer_size": 200,
    "batch_size": 16,
    "cycles_per_iteration": 8,
    "n_steps": None,
    "n_epochs": None,
}


def _model(name: str, **settings: Any) -> dict[str, Any]:
    given = {"policy_kwargs": {"net_arch": [8]}, **settings}
    return {"class_path": name, "init_args": {key: value for key, value in given.items() if value is not None}}


CONFIGS: dict[str, dict[str, Any]] = {
    "PPO": {
        "env": {"id": "CartPole-v1", "n_envs": 4, "normalize": {"obs": True}},
        "eval": {"every": 64, "episodes": 2, "max_episode_steps": 30},
        "model": _model("PPO", n_steps=16, batch_size=32, n_epochs=1),
    },
    "A2C": {"env": PENDULUM, "model": _model("A2C", n_steps=16, use_sde=True)},
    "DQN": {"env": {"id": "CartPole-v1", "n_envs": 2}, "model": _model("DQN", **OFF_POLICY)},
    "SAC": {"env": PENDULUM, "model": _model("SAC", **OFF_POLICY)},
    "TD3": {"env": PENDULUM, "model": _model("TD3", **OFF_POLICY, noise_type="normal", noise_std=0.3)},
    "DDPG": {"env": PENDULUM, "model": _model("DDPG", **OFF_POLICY)},
}
if importlib.util.find_spec("sb3_contrib") is not None:
    CONFIGS |= {
        "QRDQN": {"env": {"id": "CartPole-v1", "n_envs": 2}, "model": _model("QRDQN", **OFF_POLICY)},
        "TQC": {"env": PENDULUM, "model": _model("TQC", **OFF_POLICY)},
        "TRPO": {"env": PENDULUM, "model": _model("TRPO", n_steps=16, batch_size=16, n_epochs=None)},
        "ARS": {
            "env": {**PENDULUM, "max_episode_steps": 16, "normalize": {"obs": True}},
            "model": _model(
                "ARS",
                n_delta=2,
                cycles_per_iteration=1,
                policy_kwargs=None,
                n_steps=None,
                batch_size=None,
                n_epochs=None,
            ),
        },
        "CrossQ": {"env": PENDULUM, "model": _model("CrossQ", **OFF_POLICY)},
    }
ALGORITHMS = sorted(CONFIGS)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Trains a run by an algorithm's name, or by a configuration, once; gives its directory."""
    runs: dict[str, Path] = {}

    def train(name: str, config: dict[str, Any] | None = None) -> Path:
        if name not in runs:
            place = tmp_path_factory.mktemp(name)
            file = place / "run.yaml"
            file.write_text(yaml.safe_dump({**CARTPOLE, **SHORT, **(CONFIGS[name] if config is None else config)}))
            with contextlib.chdir(place):
                assert run_command(["fit", "--config", str(file)]) == 0
            runs[name] = run_directory(place)
        return runs[name]

    return train
