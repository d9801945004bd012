"""Images with channels first, as torch's convolutions and SB3's CnnPolicy take them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from lit_rl.envs.images import channels_first, is_image


def needs_transpose(space: spaces.Space[Any]) -> bool:
    """Whether `space` is an image with its channels last."""
    return is_image(space) and not channels_first(space)


class ChannelsFirst(gym.ObservationWrapper[Any, Any, Any]):
    """Moves the last axis of every channels-last image to the front; other parts of a Dict stay as they are."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        space = env.observation_space
        if isinstance(space, spaces.Dict):
            self._keys = {key for key, part in space.spaces.items() if needs_transpose(part)}
            self.observation_space = spaces.Dict(
                {key: _transposed(part) if key in self._keys else part for key, part in space.spaces.items()}
            )
        else:
            self._keys = set()
            self.observation_space = _transposed(space)

    def observation(self, observation: Any) -> Any:
        if isinstance(observation, dict):
            return {key: _transpose(value) if key in self._keys else value for key, value in observation.items()}
        return _transpose(observation)


def _transpose(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(image, -1, 0))


def _transposed(space: spaces.Space[Any]) -> spaces.Box:
    assert isinstance(space, spaces.Box)
    return spaces.Box(_transpose(space.low), _transpose(space.high), dtype=space.dtype)
