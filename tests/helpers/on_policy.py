"""PPO and A2C without a Trainer, and stable-baselines3's beside them with the same weights and the same rollout."""

from __future__ import annotations

import inspect
import warnings
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from lit_rl.algorithms.a2c import A2C
from lit_rl.algorithms.on_policy import OnPolicy
from lit_rl.algorithms.ppo import PPO
from lit_rl.envs.config import EnvConfig
from lit_rl.interop.settings import sb3_class
from lit_rl.networks.kwargs import resolve_policy_kwargs
from lit_rl.ops.streams import generator
from lit_rl.training.module import RLModule

M = TypeVar("M", bound=RLModule)


def make(cls: type[M], env: EnvConfig | dict[str, Any], **settings: Any) -> M:
    """A module that stands where the Trainer would call its first `training_step`."""
    if isinstance(env, dict):
        env = EnvConfig.from_plain({"backend": "sync", **env})
    module = cls(env, **settings)
    module.build_envs()
    module.build_networks()
    configured = module.configure_optimizers() or ()
    all_of = list(configured) if isinstance(configured, tuple) else [configured]
    optimizers, schedulers = ([each[key] for each in all_of] for key in ("optimizer", "lr_scheduler"))
    module.optimizers = lambda use_pl_optimizer=True: optimizers[0] if len(all_of) == 1 else optimizers
    module.lr_schedulers = lambda: schedulers[0] if len(all_of) == 1 else schedulers
    module.on_train_start()
    return module


def make_ppo(env: EnvConfig | dict[str, Any], **settings: Any) -> PPO:
    return make(PPO, env, **settings)


def make_a2c(env: EnvConfig | dict[str, Any], **settings: Any) -> A2C:
    return make(A2C, env, **{"cycles_per_iteration": 1, **settings})


def iterate(module: RLModule, times: int = 1) -> dict[str, float]:
    """Training steps; the metrics of the last."""
    for _ in range(times):
        module.training_step(0, 0)
    return module.metrics


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def flat_weights(ppo: RLModule) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in ppo.policy.parameters()]).numpy().copy()


class _Spaces(gym.Env):
    def __init__(self, ppo: OnPolicy) -> None:
        self.observation_space = ppo.normalizer.policy_space(ppo.observation_space)
        self.action_space = ppo.action_space

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return self.observation_space.sample(), {}


def sb3_twin(ours: OnPolicy, policy: str = "MlpPolicy", **changes: Any) -> Any:
    """SB3's or sb3-contrib's algorithm of the same name with the settings and weights of ours."""
    cls = sb3_class(type(ours))
    names = inspect.signature(cls.__init__).parameters.keys() & ours.hparams.keys()
    settings = {name: getattr(ours, name, ours.hparams[name]) for name in names}
    del settings["env"], settings["policy"], settings["seed"]
    given = ours.hparams["policy_kwargs"]  # theirs adds its own
    settings["policy_kwargs"] = resolve_policy_kwargs(given, ours.policy_class)
    warnings.filterwarnings("ignore", "You have specified a mini-batch size")
    twin = cls(
        policy, DummyVecEnv([lambda: _Spaces(ours)] * ours.env_config.n_envs), device="cpu", **{**settings, **changes}
    )
    twin.set_logger(Logger(folder=None, output_formats=[]))
    twin.policy.load_state_dict(ours.policy.state_dict())
    return twin


def env_major(array: Any, n_steps: int, n_envs: int) -> np.ndarray:
    """[T * N, ...], time-major as ours, to [T, N, ...] as SB3's buffer holds it."""
    array = np.asarray(array)
    return array.reshape(n_steps, n_envs, *array.shape[1:])


def fill_buffer(twin: Any, ppo: OnPolicy, rollout: Any) -> None:
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


def sb3_train(twin: Any, ppo: OnPolicy, rollout: Any, monkeypatch: Any) -> dict[str, Any]:
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
