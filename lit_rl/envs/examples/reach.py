"""A point in a box of several dimensions goes to a goal: easy to learn from goals, hopeless by chance.

The reward is 0 where the goal is reached and -1 elsewhere, as in the Fetch environments of gymnasium-robotics, and in
six dimensions a beginner never sees a 0. With hindsight (`model.her`) every episode reaches some goal.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from lit_rl.errors import ConfigError

SPEED = 0.25
"""Distance covered in one step by an action of length one along an axis."""


class Reach(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """The point and its goal in the box [-1, 1]^D.

    Observation, a dictionary of float32 [D]: `observation` the last move, `achieved_goal` the position,
    `desired_goal` the goal. Action, float32 [D] in [-1, 1]: the move in units of `SPEED`; it ends at the walls. Start
    and goal are anywhere. `info["is_success"]` says whether the point is at the goal now. An episode is truncated after
    `max_steps`.

    Args:
        dimensions: D.
        radius: largest distance at which the goal counts as reached.
        max_steps: of an episode.
    """

    def __init__(self, dimensions: int = 6, radius: float = 0.25, max_steps: int = 20) -> None:
        if dimensions < 1 or max_steps < 1 or not radius > 0:
            raise ConfigError("Reach: dimensions and max_steps must be at least 1, and radius above 0.")
        box = spaces.Box(-1.0, 1.0, (dimensions,), np.float32)
        self.action_space = box
        self.observation_space: Any = spaces.Dict({"observation": box, "achieved_goal": box, "desired_goal": box})
        self.radius, self._max_steps = radius, max_steps
        self._steps = 0
        self._at = self._goal = self._move = np.zeros(dimensions, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self._at, self._goal = self.np_random.uniform(-1.0, 1.0, (2, len(self._at))).astype(np.float32)
        self._move, self._steps = np.zeros_like(self._at), 0
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        before = self._at
        self._at = np.clip(before + SPEED * np.clip(action, -1.0, 1.0), -1.0, 1.0).astype(np.float32)
        self._move, self._steps = self._at - before, self._steps + 1
        reward = float(self.compute_reward(self._at, self._goal, {}))
        return self._observation(), reward, False, self._steps >= self._max_steps, {"is_success": reward == 0.0}

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> np.ndarray:
        """0 where two places [..., D] are near each other, -1 elsewhere; [...]."""
        near: np.ndarray = np.linalg.norm(achieved_goal - desired_goal, axis=-1) <= self.radius
        return near.astype(np.float32) - 1.0

    def _observation(self) -> dict[str, np.ndarray]:
        return {"observation": self._move, "achieved_goal": self._at, "desired_goal": self._goal}
