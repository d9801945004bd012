"""Rewards for other goals than those an episode had, as goal environments work them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from lit_rl.curriculum.delivery import deliver
from lit_rl.curriculum.levels import Level, shown_of
from lit_rl.envs.build import make_env
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.own_streams import put_back
from lit_rl.errors import ConfigError


class GoalRewards:
    """``compute_reward(achieved_goal, desired_goal, info)`` of environments that are made for it and never played.

    It has to be a function of what it is given: for many goals at once, [K, ...], and a list of K empty infos, as
    stable-baselines3 calls it.

    Args:
        config: of the environments.
        levels: of the curriculum; each has an environment of its own.

    Raises:
        ConfigError: the environment has no `compute_reward`.
    """

    def __init__(self, config: EnvConfig, levels: Sequence[Level] = ()) -> None:
        self._config, self._levels = config, levels
        self._made: dict[int, gym.Env[Any, Any]] = {}
        self._function(0)

    def __call__(self, achieved: np.ndarray, desired: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Rewards float64 [K] for goals [K, ...] on levels [K]."""
        found = np.zeros(len(level))
        for each in np.unique(level).tolist():
            at = np.flatnonzero(level == each)
            found[at] = _numbers(self._function(each)(achieved[at], desired[at], [{} for _ in at]), len(at))
        return found

    def close(self) -> None:
        """Close the environments."""
        for env in self._made.values():
            env.close()
        self._made = {}

    def _function(self, level: int) -> Any:
        if level not in self._made:
            with put_back():
                own = self._levels[level].env_kwargs if self._levels else {}  # nothing in it is made for each episode
                env, _ = make_env(self._config.with_kwargs(own), shown=shown_of(self._levels))
                if self._levels:
                    deliver(env, self._levels[level])
            self._made[level] = env
        try:
            return self._made[level].get_wrapper_attr("compute_reward")
        except AttributeError:
            raise ConfigError(
                f"model.her: {self._config.name} has no compute_reward(achieved_goal, desired_goal, info). "
                "Remove model.her, or take a goal environment."
            ) from None


def _numbers(rewards: Any, count: int) -> np.ndarray:
    found = np.asarray(rewards, dtype=np.float64)
    if found.shape != (count,):
        raise ConfigError(
            f"model.her: compute_reward gave an array of shape {list(found.shape)} for goals [{count}, ...]; it must "
            f"give one reward for each, [{count}]."
        )
    return found
