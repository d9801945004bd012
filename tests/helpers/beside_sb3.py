"""stable-baselines3 trained on our environments with our draws: whole runs side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

from lit_rl.algorithms.on_policy import OnPolicy
from lit_rl.ops.tree import tree_map
from lit_rl.training.play import Play


class AsVecEnv(VecEnv):
    """The environments of one of our modules, before normalisation, as SB3 takes them."""

    def __init__(self, play: Play) -> None:
        assert play.envs is not None
        self.play = play
        super().__init__(play.envs.n_envs, play.envs.observation_space, play.envs.action_space)

    def reset(self) -> Any:
        return tree_map(np.array, self.play.obs)  # the first episodes have begun already

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> Any:
        assert self.play.envs is not None
        result = self.play.envs.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for row, final in result.finals:
            infos[row]["terminal_observation"] = final
            infos[row]["TimeLimit.truncated"] = not result.terminated[row]
        done = result.terminated | result.truncated
        return tree_map(np.array, result.obs), result.reward.astype(np.float32), done, infos

    def close(self) -> None: ...

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def with_our_gsde(twin: Any, ours: OnPolicy) -> None:
    """Give SB3's policy, at each of its rollouts, the noise that `ours` draws for its rollout of the same number."""
    distribution, rows = ours.net.distribution, range(ours.env_config.n_envs)
    rollouts = iter(range(10**9))

    def reset_noise(n_envs: int = 1) -> None:
        number = next(rollouts)
        drawn = np.stack([distribution.noise(ours.stream("actions", row, number), 1)[0] for row in rows])
        std = twin.policy.action_dist.get_std(twin.policy.log_std)
        twin.policy.action_dist.exploration_matrices = torch.from_numpy(drawn) * std

    twin.policy.reset_noise = reset_noise
