"""What counts as an image: stable-baselines3's rule, without its imports, which worker processes would pay for."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces


def is_image(space: spaces.Space[Any]) -> bool:
    """Whether `space` is a uint8 Box from 0 to 255 with three axes (SB3's `is_image_space`)."""
    return (
        isinstance(space, spaces.Box)
        and len(space.shape) == 3
        and space.dtype == np.uint8
        and bool(np.all(space.low == 0))
        and bool(np.all(space.high == 255))
    )


def channels_first(space: spaces.Space[Any]) -> bool:
    """Whether the smallest axis of an image is its first (SB3's `is_image_space_channels_first`)."""
    assert space.shape is not None
    return int(np.argmin(space.shape)) == 0
