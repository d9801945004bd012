"""A policy sees what its episode is played on."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from lit_rl.curriculum.shown import Shown
from lit_rl.envs.monitor import EpisodeMonitor
from lit_rl.errors import ConfigError

PART = "curriculum"
"""The part of a Dict observation that the numbers are."""


class Visible(gym.Wrapper[Any, Any, Any, Any]):
    """Appends the numbers of an episode's task to a Box observation [n], or adds them to a Dict as `curriculum`.

    Args:
        monitor: right below, which knows the task.
        shown: which numbers these are.

    Raises:
        ConfigError: observations are of another kind.
    """

    def __init__(self, monitor: EpisodeMonitor, shown: Shown) -> None:
        super().__init__(monitor)
        self._monitor = monitor
        self._before = np.zeros(len(shown), dtype=np.float32)
        space = monitor.observation_space
        numbers = spaces.Box(-np.inf, np.inf, (len(shown),), np.float32)
        if isinstance(space, spaces.Dict) and PART not in space.spaces:
            self.observation_space = spaces.Dict({**space.spaces, PART: numbers})
        elif isinstance(space, spaces.Box) and len(space.shape) == 1 and np.dtype(space.dtype).kind == "f":
            low, high = (np.concatenate([own, np.full(len(shown), end)]) for own, end in _ends(space))
            self.observation_space = spaces.Box(low.astype(space.dtype), high.astype(space.dtype), dtype=space.dtype)
        else:
            raise ConfigError(
                f"curriculum.visible: is for observations that are a Dict or a Box of one dimension of floats; this "
                f"environment's are {space}."
            )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        return self._with_numbers(obs), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return self._with_numbers(obs), reward, terminated, truncated, info

    def _with_numbers(self, obs: Any) -> Any:
        numbers = self._before if self._monitor.shown is None else self._monitor.shown
        if isinstance(self.observation_space, spaces.Dict):
            return {**obs, PART: numbers.copy()} if isinstance(obs, dict) else obs
        if not isinstance(obs, np.ndarray) or obs.shape != self._monitor.observation_space.shape:
            return obs  # not of its space: whoever looks at observations says so
        return np.concatenate([obs, numbers.astype(obs.dtype)])


def _ends(space: spaces.Box) -> list[tuple[np.ndarray, float]]:
    return [(space.low, -np.inf), (space.high, np.inf)]
