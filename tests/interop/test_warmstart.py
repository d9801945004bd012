"""Starting from an agent: the moments that belong, the settings that differ."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from stable_baselines3 import PPO

from lit_rl.errors import ConfigError
from lit_rl.interop.sb3 import read_agent
from lit_rl.interop.warmstart import mismatches, moments_for


def test_moments_found_given_and_missing(pendulum: Path, tmp_path: Path) -> None:
    stats, path = moments_for(read_agent(pendulum))
    assert stats is not None
    assert path == pendulum.with_suffix("") / "vecnormalize.pkl"
    shutil.copy(pendulum, tmp_path / "rl_model_500_steps.zip")
    agent = read_agent(tmp_path / "rl_model_500_steps.zip")
    with pytest.raises(ConfigError, match=r"rl_model_vecnormalize_500_steps\.pkl, .*vec_normalize\.pkl; give its path"):
        moments_for(agent)
    stats, path = moments_for(agent, pendulum.with_suffix("") / "vecnormalize.pkl")
    assert stats is not None
    PPO("MlpPolicy", "CartPole-v1", n_steps=64, device="cpu").save(tmp_path / "plain.zip")
    assert moments_for(read_agent(tmp_path / "plain.zip")) == (None, None)


def test_differences_from_the_run_are_named(pendulum: Path) -> None:
    agent = read_agent(pendulum)
    assert mismatches(agent, {"gamma": 0.99, "n_steps": 8, "policy_kwargs": {"log_std_init": -2}}) == []
    found = mismatches(agent, {"gamma": 0.9, "policy_kwargs": {"ortho_init": True, "net_arch": [3]}})
    assert [str(item) for item in found] == [
        "gamma: the agent was trained with 0.99, the run is set to 0.9",
        "policy_kwargs.ortho_init: the agent was trained with False, the run is set to True",
    ]
