"""Starting from an agent: the weights that fit, the moments that belong, the settings that differ."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy

from lit_rl.errors import ConfigError
from lit_rl.interop.sb3 import read_agent
from lit_rl.interop.warmstart import fit_weights, mismatches, moments_for

IMAGE = spaces.Box(0, 255, (3, 36, 36), "uint8")


def network(name: str, seen: spaces.Space, seed: int, **kwargs: object) -> ActorCriticPolicy:
    torch.manual_seed(seed)
    return PPO.policy_aliases[name](seen, spaces.Box(-2, 2, (1,)), lambda _: 1e-3, **kwargs)


def test_the_published_agent_fits(pendulum: Path) -> None:
    agent = read_agent(pendulum)
    target = network("MlpPolicy", spaces.Box(-8, 8, (3,)), 0, use_sde=True)
    fit = fit_weights(agent.policy, target.state_dict(), ["policy", "value"])
    assert fit.problems == ()
    assert fit.loaded == {"policy": 7, "value": 6}
    assert fit.tensors.keys() == target.state_dict().keys()
    assert all(torch.equal(tensor, agent.policy[name]) for name, tensor in fit.tensors.items())
    alone = fit_weights(agent.policy, target.state_dict(), ["policy"])
    assert alone.loaded == {"policy": 7}
    assert not any("value_net" in name for name in alone.tensors)


def test_what_does_not_fit_is_said(pendulum: Path) -> None:
    agent = read_agent(pendulum)
    target = network("MlpPolicy", spaces.Box(-8, 8, (4,)), 0, net_arch={"pi": [64, 64], "vf": [64, 64, 64]})
    fit = fit_weights(agent.policy, target.state_dict(), ["policy", "value"])
    assert fit.problems == (
        "log_std (policy): (64, 1) in the file, (1,) in the run",
        "mlp_extractor.policy_net.0.weight (policy): (64, 3) in the file, (64, 4) in the run",
        "mlp_extractor.value_net.0.weight (value): (64, 3) in the file, (64, 4) in the run",
        "mlp_extractor.value_net.4.weight (value): not in the file",
        "mlp_extractor.value_net.4.bias (value): not in the file",
    )
    older = {**agent.policy, "mlp_extractor.shared_net.0.weight": torch.zeros(3, 3)}
    fit = fit_weights(older, network("MlpPolicy", spaces.Box(-8, 8, (3,)), 0, use_sde=True).state_dict(), ["policy"])
    assert fit.problems == ("mlp_extractor.shared_net.0.weight (policy): has no place in the run's policy",)


@pytest.mark.parametrize("share", [True, False])
def test_extractors_and_their_older_name(share: bool) -> None:
    source, target = (network("CnnPolicy", IMAGE, seed, share_features_extractor=share) for seed in (1, 2))
    both = fit_weights(source.state_dict(), target.state_dict(), ["policy", "value"])
    assert both.problems == ()
    assert both.tensors.keys() == target.state_dict().keys()
    alone = fit_weights(source.state_dict(), target.state_dict(), ["policy"])
    assert any(name.startswith("vf_features") for name in alone.tensors) is share
    if share:
        old = {n: t for n, t in source.state_dict().items() if not n.startswith(("pi_features", "vf_features"))}
        assert fit_weights(old, target.state_dict(), ["policy", "value"]).tensors.keys() == both.tensors.keys()
        target.load_state_dict(fit_weights(old, target.state_dict(), ["policy", "value"]).tensors)
        assert all(torch.equal(t, target.state_dict()[n]) for n, t in source.state_dict().items())


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
