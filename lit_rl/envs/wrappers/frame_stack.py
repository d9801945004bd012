"""The last K observations as one, as SB3's VecFrameStack: zeros before an episode's first observation."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from lit_rl.envs.images import channels_first, is_image
from lit_rl.errors import ConfigError


class FrameStack(gym.ObservationWrapper[Any, Any, Any]):
    """Stacks Box observations along the channels of an image, along the last axis of anything else."""

    def __init__(self, env: gym.Env[Any, Any], n_stack: int) -> None:
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, spaces.Box):
            raise ConfigError(f"env.frame_stack needs a Box observation space, this environment has {space}.")
        first = is_image(space) and channels_first(space)
        self._axis = 0 if first else -1
        self.observation_space = spaces.Box(
            low=np.repeat(space.low, n_stack, axis=self._axis),
            high=np.repeat(space.high, n_stack, axis=self._axis),
            dtype=space.dtype,
        )
        self._frame = space.shape[self._axis]
        self._stack = np.zeros(self.observation_space.shape, dtype=space.dtype)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self._stack = np.zeros_like(self._stack)
        return super().reset(**kwargs)

    def observation(self, observation: Any) -> Any:
        before, self._stack = self._stack, np.empty_like(self._stack)
        at = () if self._axis == 0 else (...,)
        self._stack[*at, : -self._frame] = before[*at, self._frame :]
        self._stack[*at, -self._frame :] = observation
        return self._stack
