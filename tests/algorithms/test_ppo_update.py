"""One update equals stable-baselines3's PPO.train(): the same weights, rollout and order of minibatches."""

import numpy as np
import pytest
import torch

from lit_rl.algorithms.statistics import RatioStats
from tests.helpers import envs
from tests.helpers.on_policy import iterate, make_ppo, sb3_train, sb3_twin, weights

SETTINGS = {
    "n_steps": 24,
    "batch_size": 16,
    "n_epochs": 4,
    "learning_rate": 3e-3,
    "total_timesteps": 1000,
    "policy_kwargs": {"net_arch": [16]},
    "seed": 3,
}
SDE = {"use_sde": True}
CASES = {
    "Discrete": ("Noisy", {}),
    "Box": ("NoisyBox", {}),
    "MultiDiscrete": ("NoisyMultiDiscrete", {}),
    "MultiBinary": ("NoisyMultiBinary", {}),
    "Dict": ("NoisyDict", {"policy": "MultiInputPolicy"}),
    "gSDE": ("NoisyBox", SDE),
    "gSDE expln": (
        "NoisyBox",
        {**SDE, "policy_kwargs": {"net_arch": [16], "use_expln": True, "log_std_init": 0.2}},
    ),
    "gSDE not full": ("NoisyBox", {**SDE, "policy_kwargs": {"net_arch": [16], "full_std": False}}),
    "gSDE squashed": (
        "NoisyBox",
        {**SDE, "policy_kwargs": {"net_arch": [16], "squash_output": True}, "ent_coef": 0.01},
    ),
    "value clip": ("Noisy", {"clip_range_vf": 0.05}),
    "raw advantages": ("NoisyBox", {"normalize_advantage": False}),
    "entropy and value weights": ("NoisyMultiDiscrete", {"ent_coef": 0.1, "vf_coef": 1.3}),
    "entropy of Bernoulli": ("NoisyMultiBinary", {"ent_coef": 0.1}),
    "entropy of normals": ("NoisyBox", {"ent_coef": 0.1}),
    "tight clips": ("NoisyBox", {"clip_range": 0.02, "max_grad_norm": 0.05}),
    "schedules": (
        "Noisy",
        {"learning_rate": "lin_3e-3", "clip_range": "lin_0.1", "clip_range_vf": "lin_0.2"},
    ),
    "uneven minibatches": ("Noisy", {"batch_size": 20}),
    "a last minibatch of one": ("NoisyBox", {"batch_size": 71}),
    "SGD": (
        "NoisyBox",
        {
            "learning_rate": 0.05,
            "policy_kwargs": {
                "net_arch": [16],
                "optimizer_class": torch.optim.SGD,
                "optimizer_kwargs": {"momentum": 0.9},
            },
        },
    ),
    "Adam of another eps": (
        "Noisy",
        {"policy_kwargs": {"net_arch": [16], "optimizer_kwargs": {"eps": 1e-2}}},
    ),
    "separate networks": (
        "NoisyBox",
        {"policy_kwargs": {"net_arch": {"pi": [8], "vf": [12, 6]}, "ortho_init": False}},
    ),
    "own extractors": ("NoisyBox", {"policy_kwargs": {"net_arch": [16], "share_features_extractor": False}}),
}


def twins(name, settings):
    env = {"class_path": envs.PATH + name, "n_envs": 3, "max_episode_steps": 9}
    settings = {**SETTINGS, **settings}
    ppo = make_ppo(env, **settings)
    return ppo, sb3_twin(ppo, settings.get("policy", "MlpPolicy"))


def compare(ppo, twin, ours, theirs):
    for key, tensor in twin.policy.state_dict().items():
        torch.testing.assert_close(
            weights(ppo.policy)[key], tensor, rtol=2e-4, atol=2e-5, msg=lambda text, key=key: f"{key}: {text}"
        )
    for key, value in theirs.items():
        assert ours[key] == pytest.approx(value, rel=1e-3, abs=2e-5), key
    assert {key for key in ours if key.startswith("train/")} == set(theirs)


@pytest.mark.parametrize("case", CASES)
def test_an_update_equals_sb3s(case, monkeypatch):
    ppo, twin = twins(*CASES[case])
    before = weights(ppo.policy)
    for _ in range(2):  # the second with the optimizer's state of the first
        rollout = ppo.collect()
        theirs = sb3_train(twin, ppo, rollout, monkeypatch)
        ours = ppo.update(rollout)
        ppo.counters.iterations += 1
        compare(ppo, twin, ours, theirs)
    moved = max(float((weights(ppo.policy)[key] - before[key]).abs().max()) for key in before)
    assert moved > 5e-3  # far above the tolerance


def test_the_update_stops_where_sb3s_does(monkeypatch):
    settings = {"target_kl": 0.002, "n_epochs": 10, "learning_rate": 1e-2}
    ppo, twin = twins("NoisyBox", settings)
    rollout = ppo.collect()
    theirs = sb3_train(twin, ppo, rollout, monkeypatch)
    ours = ppo.update(rollout)
    compare(ppo, twin, ours, theirs)
    minibatches = -(-len(rollout) // 16)
    assert 0 < ppo.counters.gradient_steps < 10 * minibatches
    assert ours["train/n_updates"] == theirs["train/n_updates"] < 10


def test_the_update_ends_at_one_and_a_half_times_the_target(monkeypatch):
    """Not at the target itself. For each minibatch that moved further than all before: a target on each side of it."""
    settings = {"n_epochs": 6, "learning_rate": 1e-2}
    moved, kl_of = [], RatioStats.kl
    monkeypatch.setattr(RatioStats, "kl", lambda self: (moved.append(float(kl_of(self))), kl_of(self))[1])
    ppo, _ = twins("NoisyBox", {**settings, "target_kl": 1e9})
    ppo.update(ppo.collect())
    path = moved[: ppo.counters.gradient_steps]
    records = [k for k in range(1, len(path)) if path[k] > 1.2 * max(path[:k])]
    assert len(records) >= 3
    for k in records:
        for share, steps in ((1.49, None), (1.51, k)):  # of the target: the minibatch is just within, or just beyond
            ppo, _ = twins("NoisyBox", {**settings, "target_kl": path[k] / share})
            ppo.update(ppo.collect())
            assert (ppo.counters.gradient_steps > k) if steps is None else (ppo.counters.gradient_steps == steps)


def test_ratios_are_one_and_nothing_is_clipped_at_the_first_minibatch():
    ppo, _ = twins("NoisyBox", {"n_epochs": 1, "batch_size": 72})
    metrics = iterate(ppo)
    assert metrics["train/approx_kl"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["train/clip_fraction"] == 0.0
    assert metrics["train/policy_gradient_loss"] == pytest.approx(0.0, abs=1e-6)  # normalised advantages


def test_clipping_happens_in_these_tests():
    ppo, _ = twins(*CASES["tight clips"])
    assert 0.05 < iterate(ppo)["train/clip_fraction"] < 0.99
    assert np.isfinite(list(ppo.metrics.values())).all()


def test_counters_count():
    ppo, _ = twins("Noisy", {})
    iterate(ppo, 2)
    counters = ppo.counters
    assert (counters.timesteps, counters.iterations) == (2 * 24 * 3, 2)
    assert (counters.updates, counters.gradient_steps) == (2 * 4, 2 * 4 * 5)
    assert counters.episodes >= 2 * 24 * 3 // 9 - 3
    assert ppo.metrics["time/total_timesteps"] == 144
