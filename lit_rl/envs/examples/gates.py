"""A point finds its way to a goal through gates in walls: six levels, reward only at the goal.

The room is the square [-1, 1] x [-1, 1]. The point starts near the left side; the goal lies `distance` to
its right, or up to 30% nearer, at a random height. Walls stand at the x of `WALLS`, each with one gate of
half width `gate_width` at a random height, and touching a wall ends the episode. The reward is 1 when the
goal is reached and 0 otherwise, so a beginner who must pass two gates hardly ever sees a reward, while near
goals without walls are found by chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lit_rl.errors import ConfigError

START_X = -0.9
WALLS = (-0.3, 0.3)
SPEED = 0.1
"""Distance covered in one step by an action of length one along an axis."""
GOAL_RADIUS = 0.15
OPEN = 2.0
"""The observed half width of a wall that is not there."""


@dataclass(frozen=True)
class GatesLevel:
    """What one level sets: largest distance of the goal in x, number of walls, half width of each gate."""

    distance: float
    walls: int
    gate_width: float


LEVELS = (
    GatesLevel(distance=0.4, walls=0, gate_width=0.5),
    GatesLevel(distance=0.9, walls=1, gate_width=0.5),
    GatesLevel(distance=1.2, walls=1, gate_width=0.4),
    GatesLevel(distance=1.6, walls=2, gate_width=0.5),
    GatesLevel(distance=1.8, walls=2, gate_width=0.38),
    GatesLevel(distance=1.8, walls=2, gate_width=0.28),
)


class Gates(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """The room with gates.

    Observation, float32 of shape (10,): position (x, y), goal relative to it (dx, dy), then for each of the
    two walls (dx to the wall, dy to the middle of its gate, half width of the gate; `OPEN` for a wall that
    is not there). Action, float32 of shape (2,) in [-1, 1]: the move along x and y in units of `SPEED`. An
    episode terminates at the goal (`info["is_success"]` True, reward 1) or at a wall, and is truncated after
    `max_steps`.

    `level` is an index into `LEVELS`, the last one by default. `set_level(i)` and the attributes `distance`,
    `walls` and `gate_width` take effect at the next reset.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012  (gymnasium's own form)

    def __init__(self, level: int = -1, max_steps: int = 60, render_mode: str | None = None) -> None:
        self.observation_space = spaces.Box(-3.0, 3.0, (10,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.max_steps = max_steps
        self.render_mode = render_mode
        self.set_level(level)

    def set_level(self, level: int) -> None:
        """Choose `LEVELS[level]` for the next episode."""
        if not -len(LEVELS) <= level < len(LEVELS):
            raise ConfigError(f"level: is {level}, and the levels of Gates go from 0 to {len(LEVELS) - 1}.")
        chosen = LEVELS[level]
        self.distance = chosen.distance
        self.walls = chosen.walls
        self.gate_width = chosen.gate_width

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode: random heights of start, gates and goal."""
        super().reset(seed=seed)
        heights = self.np_random.uniform(-1.0, 1.0, size=4)
        distance = self.distance * self.np_random.uniform(0.7, 1.0)
        inside = 1.0 - self.gate_width
        self._position = np.array([START_X, 0.9 * heights[0]])
        self._goal = np.array([START_X + distance, 0.9 * heights[1]])
        self._gates = [(x, inside * float(heights[2 + i]), self.gate_width) for i, x in enumerate(WALLS[: self.walls])]
        self._steps = 0
        return self._observe(), {"is_success": False}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Move by `action`; a move into a wall ends the episode."""
        move = SPEED * np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        target = np.clip(self._position + move, -1.0, 1.0)
        crashed = any(self._hits(target, *gate) for gate in self._gates)
        self._position = target
        self._steps += 1
        success = not crashed and bool(np.hypot(*(self._goal - self._position)) < GOAL_RADIUS)
        terminated = success or crashed
        truncated = not terminated and self._steps >= self.max_steps
        return self._observe(), float(success), terminated, truncated, {"is_success": success}

    def _hits(self, target: NDArray[np.float64], wall_x: float, middle: float, half_width: float) -> bool:
        """Whether the way from the position to `target` meets the wall outside its gate."""
        before, after = self._position[0] - wall_x, target[0] - wall_x
        if before == after or before * after > 0.0:
            return False
        share = before / (before - after)
        height = self._position[1] + share * (target[1] - self._position[1])
        return bool(abs(height - middle) >= half_width)

    def _observe(self) -> NDArray[np.float32]:
        """The ten numbers described in the class docstring."""
        x, y = self._position
        gates = [(wall_x - x, middle - y, half_width) for wall_x, middle, half_width in self._gates]
        gates += [(wall_x - x, 0.0, OPEN) for wall_x in WALLS[len(self._gates) :]]
        return np.concatenate([self._position, self._goal - self._position, *gates]).astype(np.float32)

    def render(self) -> NDArray[np.uint8] | None:
        """The room from above, 96 x 96 x 3, or None without `render_mode="rgb_array"`."""
        if self.render_mode != "rgb_array":
            return None
        size = 96
        grid = np.linspace(-1.0, 1.0, size)
        x, y = np.meshgrid(grid, grid[::-1])
        image = np.full((size, size, 3), 255, np.uint8)
        for wall_x, middle, half_width in self._gates:
            image[(np.abs(x - wall_x) < 0.02) & (np.abs(y - middle) >= half_width)] = (60, 60, 60)
        for centre, radius, colour in (
            (self._goal, GOAL_RADIUS, (60, 170, 75)),
            (self._position, 0.05, (45, 95, 200)),
        ):
            image[np.hypot(x - centre[0], y - centre[1]) < radius] = colour
        return image
