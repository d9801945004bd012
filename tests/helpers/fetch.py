"""A game whose best return is known: `class_path: tests.helpers.fetch.Fetch`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

SIZE = 5
MOVES = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])


class Fetch(gym.Env[np.ndarray, np.int64]):
    """A walker on a board of 5 x 5 that has to step on a prize of 10. A step that does not bring it nearer costs 1.

    Observations [4]: where both are, from -1 to 1. At best an episode returns 10, wherever it begins.
    """

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.action_space = spaces.Discrete(len(MOVES))

    def _obs(self) -> np.ndarray:
        return (np.concatenate([self.walker, self.prize]) / (SIZE - 1) * 2.0 - 1.0).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        cells = self.np_random.choice(SIZE * SIZE, size=2, replace=False)
        self.walker, self.prize = (np.array(divmod(int(cell), SIZE)) for cell in cells)
        return self._obs(), {}

    @property
    def distance(self) -> int:
        return int(np.abs(self.walker - self.prize).sum())

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        before = self.distance
        self.walker = np.clip(self.walker + MOVES[int(action)], 0, SIZE - 1)
        found = self.distance == 0
        reward = 10.0 if found else 0.0 if self.distance < before else -1.0
        return self._obs(), reward, found, False, {}
