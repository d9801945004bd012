"""Whole short runs of MaskablePPO and RecurrentPPO beside sb3-contrib's: the same weights, environments and draws."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecNormalize

from lit_rl.interop.settings import sb3_class
from lit_rl.networks.kwargs import resolve_policy_kwargs
from lit_rl.ops.distributions import DiagonalGaussian
from tests.helpers import envs, masked
from tests.helpers.beside_sb3 import AsVecEnv
from tests.helpers.on_policy import make, weights

contrib = pytest.importorskip("sb3_contrib")

from lit_rl.algorithms.maskableppo import MaskablePPO  # noqa: E402
from lit_rl.algorithms.recurrentppo import RecurrentPPO  # noqa: E402

SETTINGS = {"n_steps": 24, "batch_size": 16, "n_epochs": 3, "learning_rate": 3e-3, "total_timesteps": 216, "seed": 3}
NET = {"net_arch": [16]}
LSTM = {"net_arch": [16], "lstm_hidden_size": 12}
ROLLOUTS = 3

MASKABLE = {
    "Discrete": ("Masked", {}),
    "MultiDiscrete": ("MaskedMultiDiscrete", {"ent_coef": 0.05}),
    "MultiBinary": ("MaskedMultiBinary", {"ent_coef": 0.05}),
    "Dict": ("MaskedDict", {"policy": "MultiInputPolicy"}),
    "images": ("MaskedImages", {"policy": "CnnPolicy", "policy_kwargs": {}, "n_epochs": 1}),
    "by autograd": ("MaskedMultiDiscrete", {"fast": False, "ent_coef": 0.05}),
    "value clip, raw advantages": ("Masked", {"clip_range_vf": 0.05, "normalize_advantage": False, "vf_coef": 1.3}),
    "tight clips": ("Masked", {"clip_range": 0.02, "max_grad_norm": 0.05}),
    "target": ("Masked", {"target_kl": 0.002, "learning_rate": 1e-2}),
    "own extractors": ("Masked", {"policy_kwargs": {**NET, "share_features_extractor": False}}),
    "uneven minibatches": ("Masked", {"batch_size": 20}),
}
RECURRENT = {
    "Discrete": ("Noisy", {}),
    "Box": ("NoisyBox", {"ent_coef": 0.05}),
    "MultiDiscrete": ("NoisyMultiDiscrete", {}),
    "Dict": ("NoisyDict", {"policy": "MultiInputLstmPolicy"}),
    "images": ("SmallImages", {"policy": "CnnLstmPolicy", "policy_kwargs": {"lstm_hidden_size": 8}, "n_epochs": 1}),
    "two layers": ("NoisyBox", {"policy_kwargs": {**LSTM, "n_lstm_layers": 2}}),
    "shared": ("Noisy", {"policy_kwargs": {**LSTM, "shared_lstm": True, "enable_critic_lstm": False}}),
    "no LSTM for the critic": ("NoisyBox", {"policy_kwargs": {**LSTM, "enable_critic_lstm": False}}),
    "value clip, raw advantages": ("Noisy", {"clip_range_vf": 0.05, "normalize_advantage": False, "vf_coef": 1.3}),
    "tight clips": ("NoisyBox", {"clip_range": 0.02, "max_grad_norm": 0.05}),
    "target": ("NoisyBox", {"target_kl": 0.002, "learning_rate": 1e-2}),
    "uneven minibatches": ("Noisy", {"batch_size": 20}),
    "one minibatch": ("Noisy", {"batch_size": 72}),
    "own extractors": ("Noisy", {"policy_kwargs": {**LSTM, "share_features_extractor": False}}),
}
CASES = {
    **{f"MaskablePPO, {case}": (MaskablePPO, masked.PATH, NET, *what) for case, what in MASKABLE.items()},
    **{f"RecurrentPPO, {case}": (RecurrentPPO, envs.PATH, LSTM, *what) for case, what in RECURRENT.items()},
}


class _WithMasks(AsVecEnv):
    def has_attr(self, attr_name):
        return attr_name == "action_masks"

    def env_method(self, method_name, *args, indices=None, **kwargs):
        return list(self.play.envs.masks)


def _twin(cls, ours, other, policy, **settings):
    """Sb3-contrib's, whose policy draws what `ours` draws, and takes its minibatches in the same order."""
    theirs = sb3_class(cls)
    names = inspect.signature(theirs.__init__).parameters.keys() & settings.keys()
    given = {name: settings[name] for name in names}
    given["policy_kwargs"] = resolve_policy_kwargs(given["policy_kwargs"], ours.policy_class)
    moments = VecNormalize(_WithMasks(other.play), gamma=0.99, norm_obs=bool(ours.normalizer.parts))
    twin = theirs(policy, moments, device="cpu", **given)
    twin.set_logger(Logger(folder=None, output_formats=[]))
    twin.policy.load_state_dict(ours.policy.state_dict())
    noises = iter(np.concatenate([ours.noises[i].swapaxes(0, 1) for i in range(ROLLOUTS)]))

    def sample():
        drawn, parts = next(noises), twin.policy.action_dist
        if isinstance(ours.net.distribution, DiagonalGaussian):
            return parts.distribution.mean + parts.distribution.stddev * torch.tensor(drawn)
        several = getattr(parts, "distributions", None) or parts.distribution
        several = several if isinstance(several, list) else [several]
        logits = torch.cat([part.logits for part in several], dim=1) + torch.tensor(drawn)
        chosen = [part.argmax(dim=1) for part in logits.split([part.logits.shape[1] for part in several], dim=1)]
        return chosen[0] if len(chosen) == 1 else torch.stack(chosen, dim=1)

    twin.policy.action_dist.sample = sample
    return twin


def _same_order(ours, monkeypatch):
    """Draws of theirs that put our minibatches in the same order: environment-major, where ours are time-major."""
    steps, n = ours.n_steps, ours.env_config.n_envs
    epochs = iter(range(10**6))
    streams = {}

    def stream():
        number = next(epochs)
        if number % ours.n_epochs == 0:
            streams["now"] = ours.stream("minibatches", number // ours.n_epochs)
        return streams["now"]

    def permutation(size):
        order = stream().permutation(size)
        return order % n * steps + order // n

    monkeypatch.setattr(np.random, "permutation", permutation)
    monkeypatch.setattr(np.random, "randint", lambda size: int(stream().integers(size)))


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_contribs(case, monkeypatch):
    """Rollouts with episodes that end and are cut off, both moments, updates; the optimizer's state goes on."""
    cls, path, kwargs, name, changes = CASES[case]
    settings = {**SETTINGS, "policy_kwargs": kwargs, **changes}
    normalize = {"obs": "Dict" not in name and "Images" not in name, "reward": True}
    env = {"class_path": path + name, "n_envs": 3, "max_episode_steps": 9, "normalize": normalize}
    ours, other = (make(cls, env, **settings) for _ in range(2))
    before = weights(ours.policy)
    ours._prepare()
    twin = _twin(cls, ours, other, settings.pop("policy", next(iter(cls.POLICIES))), **settings)
    if "target_kl" in settings:
        monkeypatch.setattr("tests.algorithms.test_contrib_on_policy.ROLLOUTS", 1)
    _same_order(ours, monkeypatch)
    timesteps = ROLLOUTS * 72
    twin.learn(timesteps)
    for _ in range(ROLLOUTS):
        ours.loop.iterate()

    assert ours.counters.episodes >= 5
    for key, tensor in twin.policy.state_dict().items():
        torch.testing.assert_close(
            weights(ours.policy)[key], tensor, rtol=1e-3, atol=1e-4, msg=lambda text, key=key: f"{key}: {text}"
        )
    assert max(float((weights(ours.policy)[key] - before[key]).abs().max()) for key in before) > 5e-3
    for key, value in twin.logger.name_to_value.items():
        if key.startswith("train/"):
            assert ours.metrics[key] == pytest.approx(value, rel=1e-2, abs=1e-4), key
