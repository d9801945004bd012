"""One update equals sb3-contrib's TRPO.train(): the same weights, rollout, order and beginning of the search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sb3_contrib.common import utils

from lit_rl.algorithms.trpo import TRPO
from lit_rl.training import fast as fast_networks
from tests.helpers import envs
from tests.helpers.on_policy import make, sb3_train, sb3_twin, weights

SETTINGS: dict[str, Any] = {
    "n_steps": 24,
    "batch_size": 16,
    "n_critic_updates": 3,
    "learning_rate": 3e-3,
    "target_kl": 0.02,
    "total_timesteps": 1000,
    "policy_kwargs": {"net_arch": [16]},
    "seed": 3,
}
SDE = {"use_sde": True}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "Discrete": ("Noisy", {}),
    "Box": ("NoisyBox", {}),
    "MultiDiscrete": ("NoisyMultiDiscrete", {}),
    "MultiBinary": ("NoisyMultiBinary", {}),
    "Dict": ("NoisyDict", {"policy": "MultiInputPolicy"}),
    "gSDE": ("NoisyBox", SDE),
    "gSDE expln": ("NoisyBox", {**SDE, "policy_kwargs": {"net_arch": [16], "use_expln": True, "log_std_init": 0.2}}),
    "gSDE squashed": ("NoisyBox", {**SDE, "policy_kwargs": {"net_arch": [16], "squash_output": True}}),
    "raw advantages": ("NoisyBox", {"normalize_advantage": False}),
    "few steps, much damping": ("Noisy", {"cg_max_steps": 3, "cg_damping": 0.4}),
    "a long way back": ("NoisyBox", {"target_kl": 3.0, "line_search_shrinking_factor": 0.6}),
    "one try": ("NoisyBox", {"target_kl": 3.0, "line_search_max_iter": 1}),
    "sub-sampled": ("NoisyBox", {"sub_sampling_factor": 3}),
    "schedules": ("Noisy", {"learning_rate": "lin_3e-3"}),
    "uneven minibatches": ("Noisy", {"batch_size": 20}),
    "separate networks": ("NoisyBox", {"policy_kwargs": {"net_arch": {"pi": [8], "vf": [12, 6]}, "ortho_init": False}}),
    "ReLU": ("Noisy", {"policy_kwargs": {"net_arch": [16, 16], "activation_fn": "torch.nn.ReLU"}}),
    "own extractors": (
        "NoisyDict",
        {"policy": "MultiInputPolicy", "policy_kwargs": {"share_features_extractor": False}},
    ),
}


def twins(case: str, **changes: Any) -> tuple[TRPO, Any]:
    name, settings = CASES[case]
    env = {"class_path": envs.PATH + name, "n_envs": 3, "max_episode_steps": 9}
    ours = make(TRPO, env, **{**SETTINGS, **settings, **changes})
    return ours, sb3_twin(ours, settings.get("policy", "MlpPolicy"))


def from_our_noise(ours: TRPO, patch: pytest.MonkeyPatch) -> None:
    """Let contrib's search begin where ours does; our flat vector has gaps, and its parameters another order."""
    net = ours.net
    count = sum(each.numel() for each in net.actor_parameters)
    drawn = ours.stream("conjugate_gradient", ours.counters.iterations).standard_normal(count, dtype=np.float32)

    def begun(like: torch.Tensor) -> torch.Tensor:
        assert len(like) == count
        return torch.from_numpy(drawn)

    patch.setattr(utils.th, "randn_like", begun)


def both(ours: TRPO, twin: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], dict[str, Any]]:
    rollout = ours.collect()
    with monkeypatch.context() as patch:
        from_our_noise(ours, patch)
        theirs = sb3_train(twin, ours, rollout, monkeypatch)
    metrics = ours.update(rollout)
    ours.counters.iterations += 1
    return metrics, theirs


def compare(ours: TRPO, twin: Any, metrics: dict[str, Any], theirs: dict[str, Any]) -> None:
    for key, tensor in twin.policy.state_dict().items():
        torch.testing.assert_close(
            weights(ours.policy)[key], tensor, rtol=5e-4, atol=1e-4, msg=lambda text, key=key: f"{key}: {text}"
        )
    for key, value in theirs.items():
        assert metrics[key] == pytest.approx(value, rel=2e-3, abs=5e-5), key
    assert {key for key in metrics if key.startswith("train/")} == set(theirs)


BY_AUTOGRAD = ("Discrete", "Box", "MultiDiscrete", "MultiBinary", "sub-sampled")
"""Those of the cases with plain perceptrons that are tried with autograd as well."""


@pytest.mark.parametrize(
    ("case", "fast"), [*((case, "auto") for case in CASES), *((case, False) for case in BY_AUTOGRAD)]
)
def test_an_update_equals_contribs(case: str, fast: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, twin = twins(case, fast=fast)
    plain = ours.env_config.class_path != envs.PATH + "NoisyDict" and not ours.use_sde
    assert ours.gradients == (fast_networks.BY_HAND if plain and fast else fast_networks.BY_AUTOGRAD)
    before = weights(ours.policy)
    for _ in range(2):  # the second with the optimizer's state of the first
        metrics, theirs = both(ours, twin, monkeypatch)
        compare(ours, twin, metrics, theirs)
    moved = max(float((weights(ours.policy)[key] - before[key]).abs().max()) for key in before)
    assert moved > 5e-3  # far above the tolerance
