"""Gradients by hand: equal to the bit to autograd over the same operations, and to float tolerance to SB3's modules."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.policies import ActorCriticPolicy

import lit_rl
from lit_rl.errors import ConfigError
from lit_rl.networks import dense_actor_critic, dense_off_policy
from lit_rl.training.fast import BY_AUTOGRAD, BY_HAND
from lit_rl.training.module import RLModule
from tests.helpers import envs
from tests.helpers.followed import Followed
from tests.helpers.on_policy import iterate, make, weights

BOX: dict[str, Any] = {"class_path": envs.PATH + "NoisyBox", "n_envs": 2, "max_episode_steps": 9}
DISCRETE = {**BOX, "class_path": envs.PATH + "Noisy"}
ROLLOUT = {"n_steps": 16}
REPLAY = {"buffer_size": 200, "learning_starts": 8, "batch_size": 16, "policy_kwargs": {"net_arch": [16, 16]}}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "PPO": ("PPO", DISCRETE, {**ROLLOUT, "batch_size": 16, "n_epochs": 2, "ent_coef": 0.01}),
    "PPO Box": ("PPO", BOX, {**ROLLOUT, "batch_size": 12, "n_epochs": 2, "clip_range_vf": 0.1, "ent_coef": 0.01}),
    "PPO apart": ("PPO", BOX, {**ROLLOUT, "batch_size": 16, "policy_kwargs": {"net_arch": {"pi": [8], "vf": [16]}}}),
    "A2C": ("A2C", DISCRETE, ROLLOUT),
    "A2C Adam": ("A2C", BOX, {**ROLLOUT, "use_rms_prop": False}),
    "DQN": ("DQN", DISCRETE, {**REPLAY, "train_freq": 2}),
    "DQN double": ("DQN", DISCRETE, {**REPLAY, "train_freq": 2, "double_q": True, "prioritized_replay": True}),
    "SAC": ("SAC", BOX, REPLAY),
    "SAC, each critic its rows": ("SAC", BOX, {**REPLAY, "batch_size": 160}),
    "SAC three": ("SAC", BOX, {**REPLAY, "policy_kwargs": {"net_arch": [16], "n_critics": 3}, "ent_coef": 0.1}),
    "TD3": ("TD3", BOX, {**REPLAY, "n_steps": 2, "prioritized_replay": True}),
    "DDPG": ("DDPG", BOX, REPLAY),
}
"""Algorithm, environment, settings."""
if importlib.util.find_spec("sb3_contrib") is not None:
    CASES["QRDQN"] = ("QRDQN", DISCRETE, {**REPLAY, "train_freq": 2, "prioritized_replay": True})
    CASES["TQC"] = ("TQC", BOX, {**REPLAY, "prioritized_replay": True})


def trained(case: str, times: int = 12, **settings: Any) -> RLModule:
    name, env, own = CASES[case]
    cls = getattr(lit_rl, name)
    module: RLModule = make(cls, env, **{"cycles_per_iteration": 1, "total_timesteps": 1000, **own, **settings})
    iterate(module, times)
    return module


@pytest.mark.parametrize("case", CASES)
def test_equal_to_autograd_over_the_same_operations(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole iterations, acting and all."""
    ours = trained(case)
    assert ours.gradients == BY_HAND
    monkeypatch.setattr(dense_actor_critic, "Dense", Followed)
    monkeypatch.setattr(dense_off_policy, "Dense", Followed)
    theirs = trained(case)
    assert ours.counters == theirs.counters
    for (name, one), other in zip(weights(ours).items(), weights(theirs).values(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("case", CASES)
def test_close_to_the_modules_of_sb3(case: str) -> None:
    ours, theirs = trained(case, 4), trained(case, 4, fast=False)
    assert (ours.gradients, theirs.gradients) == (BY_HAND, BY_AUTOGRAD)
    for (name, one), other in zip(weights(ours).items(), weights(theirs).values(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("activation", ["ReLU", "Tanh", "GELU"])
@pytest.mark.parametrize(
    ("size", "share", "in_parts"),
    [(160, 80, True), (160, 10, True), (160, 3, False), (160, 160, False), (16, 8, False)],
)
def test_rows_without_a_slope_to_a_critic_change_nothing(
    monkeypatch: pytest.MonkeyPatch, activation: str, size: int, share: int, in_parts: bool
) -> None:
    """Some rows are the first critic's, the others the second's, and one is both's."""
    kwargs = {"net_arch": [16, 16], "activation_fn": f"torch.nn.{activation}"}
    critics = trained("SAC", 3, policy_kwargs=kwargs).critics
    generator = torch.Generator().manual_seed(1)
    action = torch.rand(size, critics._actions, generator=generator)
    obs = torch.randn(size, critics._all.layers[0].inputs - critics._actions, generator=generator)
    first = critics.judge(obs, action)[0].argsort().argsort() < share
    slope = torch.stack([first, ~first]).float() * torch.randn(size, generator=generator)
    slope[:, 5] = 0.25
    assert bool(critics._rows_that_count(slope)) is in_parts
    found = critics.slope_of_actions(slope.clone())
    monkeypatch.setattr(dense_off_policy, "_MANY", 1000)
    assert torch.equal(found, critics.slope_of_actions(slope.clone()))


class WithItsOwn(ActorCriticPolicy):
    """Has a parameter that no perceptron knows of."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.more = torch.nn.Parameter(torch.zeros(()))


@pytest.mark.parametrize(
    ("case", "settings", "why"),
    [
        ("PPO Box", {"use_sde": True}, "use_sde"),
        ("PPO", {"policy": f"{__name__}:WithItsOwn"}, "parameters of its own"),
        ("PPO", {"policy_kwargs": {"optimizer_class": "tests.helpers.networks:Layerwise"}}, "Layerwise"),
        ("SAC", {"use_sde": True}, "use_sde"),
        ("SAC", {"policy_kwargs": {"activation_fn": "torch.nn.Softsign"}}, "usual activations"),
        ("DQN", {"dueling": True}, "usual activations"),
        ("TD3", {"policy_kwargs": {"activation_fn": "torch.nn.Softsign"}}, "usual activations"),
    ],
)
def test_other_networks_keep_autograd(case: str, settings: dict[str, Any], why: str) -> None:
    assert trained(case, 1, **settings).gradients == BY_AUTOGRAD
    with pytest.raises(ConfigError, match=rf"model\.fast: .*{why}.*; use auto or false"):
        trained(case, 1, fast=True, **settings)


@pytest.mark.parametrize("case", ["PPO Box", "DQN", "SAC", "TD3"])
def test_a_policy_that_is_moved_is_still_the_one_that_acts(case: str) -> None:
    """Lightning takes a module to the CPU after training on a GPU."""
    module, other = trained(case, 3), trained(case, 6)
    module._apply(lambda tensor: tensor.clone())
    assert module.gradients == BY_HAND
    obs = np.stack([module.observation_space.sample() for _ in range(50)])
    before = module.policy_actions(obs)
    module.policy.load_state_dict(other.policy.state_dict())
    assert not np.array_equal(module.policy_actions(obs), before) or case == "DQN"
    assert np.array_equal(module.policy_actions(obs), other.policy_actions(obs))
