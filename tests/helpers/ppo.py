"""PPO without a Trainer, and stable-baselines3's PPO beside it with the same weights and the same rollout."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from lit_rl.algorithms.ppo import PPO
from lit_rl.envs.config import EnvConfig
from lit_rl.ops.streams import generator


def make_ppo(env: EnvConfig | dict[str, Any], **settings: Any) -> PPO:
    """A module that stands where the Trainer would call its first `training_step`."""
    if isinstance(env, dict):
        env = EnvConfig.from_plain({"backend": "sync", **env})
    ppo = PPO(env, **settings)
    ppo.build_envs()
    ppo.build_networks()
    configured = ppo.configure_optimizers()
    ppo.optimizers = lambda use_pl_optimizer=True: configured["optimizer"]
    ppo.lr_schedulers = lambda: configured["lr_scheduler"]
    ppo.backward_function = lambda: torch.Tensor.backward
    ppo.on_train_start()
    return ppo


def iterate(ppo: PPO, times: int = 1) -> dict[str, float]:
    """Training steps; the metrics of the last."""
    for _ in range(times):
        ppo.training_step(0, 0)
    return ppo.metrics


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def flat_weights(ppo: PPO) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in ppo.policy.parameters()]).numpy().copy()


class _Spaces(gym.Env):
    def __init__(self, ppo: PPO) -> None:
        self.observation_space = ppo.normalizer.policy_space(ppo.observation_space)
        self.action_space = ppo.action_space

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return self.observation_space.sample(), {}


def sb3_twin(ppo: PPO, policy: str = "MlpPolicy", **changes: Any) -> stable_baselines3.PPO:
    """SB3's PPO with the settings and weights of ours."""
    names = (
        "n_steps",
        "batch_size",
        "n_epochs",
        "gamma",
        "gae_lambda",
        "normalize_advantage",
        "ent_coef",
        "vf_coef",
        "max_grad_norm",
        "use_sde",
        "sde_sample_freq",
        "target_kl",
    )
    settings: dict[str, Any] = {name: getattr(ppo, name) for name in names}
    for name in ("learning_rate", "clip_range", "clip_range_vf"):
        settings[name] = getattr(ppo, name)
    warnings.filterwarnings("ignore", "You have specified a mini-batch size")
    twin = stable_baselines3.PPO(
        policy,
        DummyVecEnv([lambda: _Spaces(ppo)] * ppo.env_config.n_envs),
        policy_kwargs=dict(ppo.policy_kwargs),
        device="cpu",
        **{**settings, **changes},
    )
    twin.set_logger(Logger(folder=None, output_formats=[]))
    twin.policy.load_state_dict(ppo.policy.state_dict())
    return twin


def env_major(array: Any, n_steps: int, n_envs: int) -> np.ndarray:
    """[T * N, ...], time-major as ours, to [T, N, ...] as SB3's buffer holds it."""
    array = np.asarray(array)
    return array.reshape(n_steps, n_envs, *array.shape[1:])


def fill_buffer(twin: stable_baselines3.PPO, ppo: PPO, rollout: Any) -> None:
    """Put our rollout into SB3's buffer."""
    buffer, (t, n) = twin.rollout_buffer, (ppo.n_steps, ppo.env_config.n_envs)
    buffer.reset()
    if isinstance(rollout.obs, dict):
        for key, part in rollout.obs.items():
            buffer.observations[key][:] = env_major(part, t, n).reshape(buffer.observations[key].shape)
    else:
        buffer.observations[:] = env_major(rollout.obs, t, n).reshape(buffer.observations.shape)
    buffer.actions[:] = env_major(rollout.action, t, n).reshape(buffer.actions.shape)
    buffer.values[:] = env_major(rollout.value, t, n)
    buffer.log_probs[:] = env_major(rollout.log_prob, t, n)
    buffer.advantages[:] = env_major(rollout.advantage, t, n)
    buffer.returns[:] = env_major(rollout.ret, t, n)
    buffer.pos, buffer.full, buffer.generator_ready = t, True, False


def sb3_train(twin: stable_baselines3.PPO, ppo: PPO, rollout: Any, monkeypatch: Any) -> dict[str, Any]:
    """SB3's update on our rollout in our order of minibatches; returns what it logs.

    Our transitions lie time-major (t * N + e), SB3's environment-major (e * T + t).
    """
    t, n = ppo.n_steps, ppo.env_config.n_envs
    rng = generator(ppo.seed, "minibatches", ppo.counters.iterations)

    def same_order(size: int) -> np.ndarray:
        order = rng.permutation(size)
        return order % n * t + order // n

    fill_buffer(twin, ppo, rollout)
    twin.num_timesteps = ppo.counters.timesteps
    twin._update_current_progress_remaining(ppo.counters.timesteps, ppo.clock.target)
    with monkeypatch.context() as patch:
        patch.setattr(np.random, "permutation", same_order)
        twin.train()
    return dict(twin.logger.name_to_value)
