"""A part of the observation that is not seen."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from lit_rl.errors import ConfigError


class Hidden(gym.ObservationWrapper[np.ndarray, Any, np.ndarray]):
    """Shows 0 in the place of some numbers, such as velocities, as the RL Zoo's `MaskVelocityWrapper` does.

    Args:
        env: its observations are a Box of one dimension.
        indices: of the numbers.

    Raises:
        ConfigError: observations are others, or have no such number.
    """

    def __init__(self, env: gym.Env[np.ndarray, Any], indices: list[int]) -> None:
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ConfigError(f"Hidden: is for observations that are a Box of one dimension, not {space}.")
        if not all(isinstance(i, int) and 0 <= i < space.shape[0] for i in indices):
            raise ConfigError(f"Hidden: indices are whole numbers from 0 to {space.shape[0] - 1}, not {indices}.")
        self._seen = np.ones(space.shape, dtype=space.dtype)
        self._seen[indices] = 0

    def observation(self, observation: np.ndarray) -> np.ndarray:
        shown: np.ndarray = observation * self._seen
        return shown
