"""A round trip through towns, where most choices are forbidden most of the time: for algorithms that know masks."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from lit_rl.errors import ConfigError

FORBIDDEN = -0.5
"""Reward for a choice that is forbidden: the traveller stays, and a step is lost."""


class Tour(gym.Env[np.ndarray, np.int64]):
    """Towns in the unit square, each to be visited once, the next one chosen in each step.

    Observation, float32 [5 M]: for each of M towns where it lies from here, in two coordinates and as a distance;
    whether it was visited; and whether it is here. Action: the town to go to. Reward: minus the distance, at the last
    town also that of the way home; a town that was visited is forbidden, costs `FORBIDDEN` and nothing happens.
    `action_masks` allows the others. Towns lie anywhere, and the trip begins in the first. An episode ends when all
    are visited, or is truncated after 4 M steps. `info["is_success"]` says whether all are visited.

    Args:
        towns: M.
    """

    def __init__(self, towns: int = 12) -> None:
        if towns < 2:
            raise ConfigError("Tour: towns must be at least 2.")
        self._towns = towns
        self.action_space: Any = spaces.Discrete(towns)
        self.observation_space: Any = spaces.Box(-2.0, 2.0, (5 * towns,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, Any]:
        super().reset(seed=seed)
        self._places = self.np_random.random((self._towns, 2))
        self._visited = np.arange(self._towns) == 0
        self._here, self._steps = 0, 0
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        reward = FORBIDDEN
        if not self._visited[action]:
            reward = -self._way(self._here, int(action))
            self._here = int(action)
            self._visited[self._here] = True
        done = bool(self._visited.all())
        if done:
            reward -= self._way(self._here, 0)
        return self._observation(), reward, done, not done and self._steps >= 4 * self._towns, {"is_success": done}

    def action_masks(self) -> np.ndarray:
        """Which towns were not visited yet, bool [M]; at the trip's end all, for there is no next choice."""
        visited = self._visited
        allowed: np.ndarray = visited if visited.all() else ~visited
        return allowed

    def _way(self, one: int, other: int) -> float:
        return float(np.linalg.norm(self._places[one] - self._places[other]))

    def _observation(self) -> np.ndarray:
        from_here = self._places - self._places[self._here]
        distance = np.linalg.norm(from_here, axis=1)
        here = np.arange(self._towns) == self._here
        return np.concatenate([from_here.T.reshape(-1), distance, self._visited, here]).astype(np.float32)
