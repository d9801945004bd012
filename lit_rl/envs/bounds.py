"""Whether observations keep to the bounds of their Box. Nothing that is learned depends on them, so it is only said."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.envs.spaces import own_key

_ROUNDING = 1e-5
"""Of the bound: what float32 makes of it is not worth a word."""


class Bounds:
    """Remembers the first observation that left its bounds.

    Args:
        stacked: observations are stacked, with zeros before an episode's first; zeros do not count then.
    """

    def __init__(self, stacked: bool) -> None:
        self._stacked = stacked
        self.broken: str | None = None
        """What left them, in words; `None` so far."""

    def look(self, obs: Any, space: spaces.Space[Any], where: str = "") -> None:
        """Look at one observation of `space`."""
        if self.broken is not None:
            return
        if isinstance(space, spaces.Dict):
            for key, part in space.spaces.items():
                self.look(obs[key], part, f" in '{own_key(key)}'")
        elif isinstance(space, spaces.Box):
            self.broken = self._outside(np.asarray(obs, np.float64), space, where)

    def _outside(self, obs: np.ndarray, space: spaces.Box, where: str) -> str | None:
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        with np.errstate(invalid="ignore"):  # infinite bounds
            spare = _ROUNDING * np.maximum(np.maximum(np.abs(low), np.abs(high)), 1.0)
            left = (obs < low - np.where(np.isinf(low), 0.0, spare)) | (
                obs > high + np.where(np.isinf(high), 0.0, spare)
            )
        if self._stacked:
            left &= obs != 0
        if not left.any():
            return None
        at = tuple(int(i) for i in np.argwhere(left)[0])
        return f"{obs[at]:.6g} at {list(at)}{where}, where its space goes from {low[at]:.6g} to {high[at]:.6g}"
