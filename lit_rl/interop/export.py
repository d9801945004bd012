"""A run's policy as files that stable-baselines3 opens: `PPO.load(agent.zip)` and the
like, `VecNormalize.load(stats.pkl, env)`.

Both are written through SB3's own classes, so that the format is theirs in every version.
"""

from __future__ import annotations

import copy
import io
import os
import pickle
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common import torch_layers
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.sb2_compat import rmsprop_tf_like
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer
from torch import Tensor

from lit_rl.algorithms.ppo import PPO
from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError, DataError, StorageError, did_you_mean
from lit_rl.interop.settings import kinds, sb3_class
from lit_rl.interop.text import CLASS_KEYS, is_known_class
from lit_rl.interop.vecnormalize import Moments, VecNormalizeStats
from lit_rl.ops.schedules import as_schedule

_MODULES = {
    "torch.nn": torch.nn,
    "torch.optim": torch.optim,
    "stable_baselines3.common.torch_layers": torch_layers,
    "stable_baselines3.common.sb2_compat.rmsprop_tf_like": rmsprop_tf_like,
}

_WINDOW = 100
"""Episodes that stable-baselines3 takes means over."""
_NOISES: dict[str, Any] = {"normal": NormalActionNoise, "ornstein-uhlenbeck": OrnsteinUhlenbeckActionNoise}


def write_agent(
    path: str | Path,
    policy: Mapping[str, Tensor],
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    policy_class: str | type,
    policy_kwargs: Mapping[str, Any] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    optimizers: Sequence[Mapping[str, Any]] = (),
    log_ent_coef: Tensor | None = None,
    n_envs: int = 1,
    num_timesteps: int = 0,
    total_timesteps: int = 0,
    seed: int | None = None,
    algorithm: type[Any] = PPO,
    her: Mapping[str, Any] | None = None,
    noise: tuple[str, float] | None = None,
    updates: int = 0,
    episodes: int = 0,
    window: Sequence[Episode] = (),
) -> None:
    """Write a zip that stable-baselines3's `load` opens, with equal predictions and the optimizer's state.

    `algorithm` is ours; the zip is for stable-baselines3's of that name.
    `policy` holds the tensors by SB3's names; `policy_class` is `MlpPolicy`, `CnnPolicy`,
    `MultiInputPolicy` or a class; `policy_kwargs` may name classes of PyTorch and SB3 by dotted text;
    schedules in `hyperparameters` are as run.yaml has them; `observation_space` is what the policy saw
    (images channel first); `her` the arguments of a HerReplayBuffer, with which SB3's `load` needs an environment;
    `noise` the kind of noise on top of actions, and its deviation; `updates` and `episodes` are counts, which
    stable-baselines3 goes on with, and `window` the last episodes, oldest first.
    Progress remaining is `1 - num_timesteps / total_timesteps`. The global random
    streams are left as they were.

    Raises `ConfigError` for an unknown hyperparameter or class, `DataError` when the tensors do not fit the
    policy.
    """
    theirs, known = sb3_class(algorithm), kinds(algorithm)
    settings = dict(hyperparameters or {})
    for key in settings:
        if key not in known:
            raise ConfigError(f"{key}: is no setting of SB3's {theirs.__name__}.{did_you_mean(key, known)}")
    settings.update(
        {key: _schedule(settings[key]) for key, kind in known.items() if kind == "schedule" and key in settings}
    )
    if her is not None:
        settings |= {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": dict(her)}
    if noise is not None:
        dim = int(np.prod(action_space.shape or ()))
        settings["action_noise"] = _NOISES[noise[0]](np.zeros(dim), np.full(dim, noise[1]))
    with torch.random.fork_rng(devices=[]):
        model: Any = theirs(
            policy_class,
            env=None,  # SB3's own load does the same
            policy_kwargs=resolve_classes(policy_kwargs or {}),
            device="cpu",
            _init_setup_model=False,
            **settings,
        )
        model.observation_space, model.action_space, model.n_envs = observation_space, action_space, n_envs
        _make_policy(model)
    try:
        model.policy.load_state_dict(dict(policy))
        if hasattr(model, "weights"):  # ARS has them beside the policy as well
            model.weights = torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()
        for theirs_own, state in zip(_optimizers(model), optimizers, strict=False):
            theirs_own.load_state_dict(_plain_optimizer(state))
        if log_ent_coef is not None:
            model.log_ent_coef.data.copy_(log_ent_coef)
    except (RuntimeError, ValueError, KeyError) as error:
        text = " ".join(str(error).split())
        raise DataError(f"{path}: the weights do not fit the policy that the settings make ({text[:300]}).") from None
    model.seed = seed
    model.num_timesteps, model._total_timesteps = num_timesteps, total_timesteps
    if total_timesteps > 0:
        model._current_progress_remaining = 1.0 - num_timesteps / total_timesteps
    model._n_updates, model._episode_num = updates, episodes
    if hasattr(model, "_n_calls"):
        model._n_calls = num_timesteps // n_envs
    model.ep_info_buffer = deque(({"r": each.ret, "l": each.length, "t": 0.0} for each in window), maxlen=_WINDOW)
    model.ep_success_buffer = deque((each.success for each in window if each.success is not None), maxlen=_WINDOW)
    buffer = io.BytesIO()
    model.save(buffer)
    _write(path, buffer.getvalue())


def _make_policy(model: Any) -> None:
    """The networks of an algorithm of SB3's, without an environment."""
    if not isinstance(model, OnPolicyAlgorithm | OffPolicyAlgorithm):  # ARS
        model._setup_model()
        return
    if isinstance(model, OnPolicyAlgorithm):
        model._setup_lr_schedule()
        policy_class: Any = model.policy_class
        model.policy = policy_class(
            model.observation_space, model.action_space, model.lr_schedule,
            **({"use_sde": True} if model.use_sde else {}), **model.policy_kwargs,
        )  # fmt: skip
        return
    size, model.buffer_size = model.buffer_size, model.n_envs  # its replay is not written
    model.env = _Spaces(model.observation_space, model.action_space)  # type: ignore[assignment]
    model._setup_model()
    model.buffer_size, model.replay_buffer, model.env = size, None, None


def _optimizers(model: Any) -> list[Any]:
    """Those of an algorithm of SB3's, in our order."""
    policy = model.policy
    if not isinstance(model, OnPolicyAlgorithm | OffPolicyAlgorithm):
        return []
    found = [policy.optimizer] if hasattr(policy, "optimizer") else [policy.actor.optimizer, policy.critic.optimizer]
    temperature = getattr(model, "ent_coef_optimizer", None)
    return found if temperature is None else [*found, temperature]


def resolve_classes(policy_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names of PyTorch's and SB3's own classes as those classes; every other value as it is.

    Only layers, optimizers and SB3's extractors are looked up: text from a file never imports anything else.
    """
    return {key: _resolve(key, value) if key in CLASS_KEYS else value for key, value in policy_kwargs.items()}


def _resolve(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    module, _, name = value.rpartition(".")
    found = getattr(_MODULES.get(module), name, None) if is_known_class(value) else None
    if not isinstance(found, type):
        raise ConfigError(f"policy_kwargs.{key}: {value!r} is no class of torch.nn, torch.optim or SB3's layers.")
    return found


def _schedule(value: Any) -> Any:
    """A setting as stable-baselines3 takes it: a number, or a LinearSchedule, the only one that it has."""
    if not isinstance(value, str | dict):
        return value
    schedule = as_schedule(value, "schedule")
    if schedule.shape == "constant":
        return schedule.start
    if schedule.shape != "linear":
        raise ConfigError(f"the schedule {value!r} is {schedule.shape}, and stable-baselines3 has linear ones alone.")
    return LinearSchedule(schedule.start, schedule.end or 0.0, schedule.fraction)


def _plain_optimizer(state: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer's state without the switches that belong to our machine: fused and capturable kernels."""
    ours = {"fused": None, "foreach": None, "capturable": False}
    groups = [
        {k: ours.get(k, v.item() if isinstance(v, Tensor) else v) for k, v in group.items()}
        for group in state["param_groups"]
    ]
    return {"state": state["state"], "param_groups": groups}


class _Spaces(gymnasium.Env[Any, Any]):
    """An environment that has spaces and does nothing: VecNormalize is made around one."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space = observation_space
        self.action_space = action_space


def write_vecnormalize(
    path: str | Path,
    stats: VecNormalizeStats,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
) -> None:
    """Write a pickle that `VecNormalize.load(path, venv)` opens, with these moments and settings."""
    keys = list(stats.obs) if isinstance(stats.obs, dict) else None
    wrapper = VecNormalize(
        DummyVecEnv([lambda: _Spaces(copy.deepcopy(observation_space), action_space)]),
        norm_obs=stats.norm_obs,
        norm_reward=stats.norm_reward,
        clip_obs=stats.clip_obs,
        clip_reward=stats.clip_reward,
        gamma=stats.gamma,
        epsilon=stats.epsilon,
        norm_obs_keys=keys,
    )
    if isinstance(stats.obs, dict):
        wrapper.obs_rms = {key: _running(moments) for key, moments in stats.obs.items()}
    elif stats.obs is not None:
        wrapper.obs_rms = _running(stats.obs)  # type: ignore[assignment]
    wrapper.ret_rms = _running(stats.reward)
    _write(path, pickle.dumps(wrapper, protocol=4))


def _running(moments: Moments) -> RunningMeanStd:
    running = RunningMeanStd(shape=moments.mean.shape)
    running.mean = np.array(moments.mean, dtype=np.float64)
    running.var = np.array(moments.var, dtype=np.float64)
    running.count = float(moments.count)
    return running


def _write(path: str | Path, data: bytes) -> None:
    """A whole file or none: written to a neighbour first, flushed to the disk, then renamed over `path`."""
    target = Path(path)
    staged = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with staged.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(target)
    except OSError as error:
        raise StorageError(f"{target}: cannot be written ({error.strerror}).") from None
    finally:
        staged.unlink(missing_ok=True)
