"""Running normalisation of observations and rewards, with the meaning of SB3's VecNormalize.

The moments are float64 buffers of a module, so that they are saved, loaded and counted like weights. They stay on the
CPU whatever device the module is on: they are updated once a step, beside the environments, in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from lit_rl.envs.config import NormalizeConfig
from lit_rl.envs.images import is_image
from lit_rl.envs.spaces import own_key
from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.ops.moments import INITIAL_COUNT, merge_moments, update_moments, update_moments_of_steps
from lit_rl.ops.tree import Obs


class Moments(nn.Module):
    """Running mean and population variance of one array, in float64.

    Args:
        shape: of one sample.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("var", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(INITIAL_COUNT, dtype=torch.float64))
        self._agreed: list[np.ndarray] | None = None
        self._own: list[np.ndarray] = []

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Moments:
        return self  # float64 on the CPU, whatever the module is cast or moved to

    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, variance and count, views of the buffers' memory."""
        buffers: dict[str, Any] = self._buffers  # what an attribute of a module is looked up in last
        return buffers["mean"].numpy(), buffers["var"].numpy(), buffers["count"].numpy()

    def update(self, batch: np.ndarray) -> None:
        """Fold [N, *shape] samples in."""
        update_moments(*self._arrays(), batch)
        if self._agreed is not None:
            mean, var, count = self._own
            update_moments(mean, var, count, batch)

    def update_steps(self, batch: np.ndarray) -> np.ndarray:
        """Fold [T, N] numbers in, step by step; returns the variance after each step, [T]."""
        return update_moments_of_steps(*self._arrays(), batch)

    def begin_own(self) -> None:
        """From here on, keep this rank's own samples apart as well: these moments are those of all ranks."""
        self._agreed = [part.copy() for part in self._arrays()]
        self._own = [np.zeros_like(part) for part in self._agreed]

    @property
    def own(self) -> list[np.ndarray]:
        """Mean, variance and count of this rank's samples since `begin_own`."""
        return self._own

    def merge(self, of_all: list[list[np.ndarray]]) -> None:
        """Back to what all ranks agreed on, and every rank's own samples folded in, in rank order."""
        assert self._agreed is not None
        for part, agreed in zip(self._arrays(), self._agreed, strict=True):
            part[...] = agreed
        for mean, var, count in of_all:
            merge_moments(*self._arrays(), mean, var, count)
        self.begin_own()

    def normalized(self, value: np.ndarray, epsilon: float, clip: float) -> np.ndarray:
        """``clip((value - mean) / sqrt(var + epsilon), -clip, clip)`` as float32."""
        mean, var, _ = self._arrays()
        scaled = (value - mean) / np.sqrt(var + epsilon)
        result: np.ndarray = np.minimum(np.maximum(scaled, -clip), clip).astype(np.float32)  # np.clip takes longer
        return result


class Normalizer(nn.Module):
    """Observations and rewards as the policy sees them.

    Args:
        config: what is normalised and how.
        observation_space: of one environment.
        gamma: discount of the return whose deviation scales rewards, where the config names none.
        n_envs: environments of this rank.
        gather: gives the rows of all ranks for those of this one, in rank order; `None` for a single process. Moments
            of rewards then are those of a single process to the bit.
        in_step: gather observations at every step, so that their moments are as well. Otherwise they are this rank's
            own until `merge`.
    """

    def __init__(
        self,
        config: NormalizeConfig,
        observation_space: spaces.Space[Any],
        gamma: float,
        n_envs: int,
        gather: Callable[[np.ndarray], np.ndarray] | None = None,
        in_step: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self._gather, self._gather_obs = gather, gather if in_step else None
        self.gamma = config.gamma if config.gamma is not None else gamma
        self.obs = nn.ModuleDict()
        self.whole = not isinstance(observation_space, spaces.Dict)
        if config.obs:
            for key, space in _normalized_parts(observation_space, config.keys).items():
                self.obs[key] = Moments(tuple(space.shape or ()))
        self.parts = list(self.obs)
        """Parts of an observation that are normalised; to look into a module takes long."""
        self.reward = Moments(()) if config.reward else None
        self.returns = np.zeros(n_envs)
        """Discounted return so far of each environment's episode; part of the environments' state."""

    def _moments(self, key: str) -> Moments:
        module = self.obs[key]
        assert isinstance(module, Moments)
        return module

    def begin_own(self) -> None:
        """The moments of observations are those of all ranks now; what follows is this rank's, until `merge`."""
        for key in self.obs:
            self._moments(key).begin_own()

    @property
    def own(self) -> list[list[np.ndarray]]:
        """What this rank has seen since `begin_own` or `merge`."""
        return [self._moments(key).own for key in self.obs]

    def merge(self, of_all: list[list[list[np.ndarray]]]) -> None:
        """Fold in what every rank has seen, in rank order; all ranks come to the same bits.

        Args:
            of_all: `own` of every rank.
        """
        for i, key in enumerate(self.obs):
            self._moments(key).merge([own[i] for own in of_all])

    def update_obs(self, obs: Obs) -> None:
        """Fold the observations of one step, [N, ...], into the moments."""
        for key in self.parts:
            part: Any = obs if self.whole else obs[key]
            self._moments(key).update(part if self._gather_obs is None else self._gather_obs(part))

    def normalize_obs(self, obs: Any) -> Any:
        """Observations as the policy sees them with the moments of now.

        Args:
            obs: a single one, or any number: [..., *shape of one], in each part of a Dict.

        Returns:
            float32 of that shape. What is not normalised is passed on as it is.
        """
        if not self.parts:
            return obs
        epsilon, clip = self.config.epsilon, self.config.clip_obs
        if self.whole:
            return self._moments("obs").normalized(obs, epsilon, clip)
        return {
            key: self._moments(key).normalized(part, epsilon, clip) if key in self.obs else part
            for key, part in obs.items()
        }

    def scale_rewards(self, reward: np.ndarray, done: np.ndarray) -> np.ndarray:
        """Rewards of T steps, [T, N], each scaled by the running deviation of the discounted return then, clipped.

        Rewards steer nothing while a rollout is played, so all its steps are done at once afterwards.

        Args:
            reward: float64 [T, N], as the environments gave them.
            done: bool [T, N], whether the episode ended with the step.
        """
        if self.reward is None:
            return reward
        discounted, returns = np.empty_like(reward), self.returns
        for t in range(len(reward)):
            returns = discounted[t] = returns * self.gamma + reward[t]
            returns[done[t]] = 0.0
        self.returns = returns
        if self._gather is not None:  # [T, N] of all ranks
            discounted = np.ascontiguousarray(self._gather(discounted.T).T)
        deviation = np.sqrt(self.reward.update_steps(discounted) + self.config.epsilon)
        clipped: np.ndarray = np.clip(reward / deviation[:, None], -self.config.clip_reward, self.config.clip_reward)
        return clipped

    def update_rewards(self, reward_N: np.ndarray, done_N: np.ndarray) -> None:
        """Fold the rewards of one step into the moments of the discounted return, as VecNormalize does at each step.

        What `scale_rewards` does for a whole rollout; an algorithm uses one of the two. With `gather` every rank folds
        in those of all, in rank order. Nothing happens where rewards are not normalised.

        Args:
            reward_N: float64 [N], this rank's environments, as they gave them.
            done_N: bool [N], whether the episode ended with the step.
        """
        if self.reward is None:
            return
        self.returns = self.returns * self.gamma + reward_N
        self.reward.update(self.returns if self._gather is None else self._gather(self.returns))
        self.returns[done_N] = 0.0

    def normalize_rewards(self, reward: np.ndarray) -> np.ndarray:
        """Stored rewards as the learner sees them with the moments of now.

        Args:
            reward: of any shape, as the environments gave them.

        Returns:
            float64 of that shape: divided by the deviation of the discounted return, clipped to `clip_reward`;
            `reward` itself where rewards are not normalised.
        """
        if self.reward is None:
            return reward
        deviation = np.sqrt(self.reward.var.numpy() + self.config.epsilon)
        scaled: np.ndarray = np.clip(reward / deviation, -self.config.clip_reward, self.config.clip_reward)
        return scaled

    def policy_space(self, space: spaces.Space[Any]) -> spaces.Space[Any]:
        """The observation space as the policy sees it."""
        if not self.obs:
            return space
        if self.whole:
            return self._bounded(space)
        assert isinstance(space, spaces.Dict)
        return spaces.Dict({k: self._bounded(part) if k in self.obs else part for k, part in space.spaces.items()})

    def _bounded(self, space: spaces.Space[Any]) -> spaces.Box:
        return spaces.Box(-self.config.clip_obs, self.config.clip_obs, space.shape, np.float32)


def _normalized_parts(space: spaces.Space[Any], keys: list[str] | None) -> dict[str, spaces.Space[Any]]:
    if not isinstance(space, spaces.Dict):
        if keys is not None:
            raise ConfigError("env.normalize.keys is for Dict observations; remove it.")
        if not isinstance(space, spaces.Box):
            raise ConfigError(f"env.normalize.obs needs Box observations, not {type(space).__name__}; set it to false.")
        return {"obs": space}
    parts = {own_key(name): name for name in space.spaces}
    for key in keys or []:
        if key not in parts:
            raise ConfigError(f"env.normalize.keys: no part '{key}' in the observations.{did_you_mean(key, parts)}")
        if not isinstance(space.spaces[parts[key]], spaces.Box):
            raise ConfigError(f"env.normalize.keys: part '{key}' is not a Box and cannot be normalised.")
    if keys is not None:
        return {parts[key]: space.spaces[parts[key]] for key in keys}
    return {key: part for key, part in space.spaces.items() if isinstance(part, spaces.Box) and not is_image(part)}
