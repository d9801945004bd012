"""Noise that is added to actions. Shapes: N environments, A action dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

NoiseType = Literal["normal", "ornstein-uhlenbeck"]

_THETA, _DT = 0.15, 1e-2
"""How fast Ornstein-Uhlenbeck noise goes back to 0, and the time between two steps: stable-baselines3's."""


class ActionNoise:
    """Noise of mean 0 for the scaled actions of N environments, with the meaning of stable-baselines3's classes.

    As a part of the state it is where each environment's Ornstein-Uhlenbeck noise stands.

    Args:
        kind: `normal`, independent from step to step, or `ornstein-uhlenbeck`, correlated over an episode.
        std: its deviation, of a unit of time.
        n_envs: N.
        dim: A.
    """

    def __init__(self, kind: NoiseType, std: float, n_envs: int, dim: int) -> None:
        self._kind, self._std = kind, std
        self._last = np.zeros((n_envs, dim))

    def __call__(self, normal_NA: np.ndarray) -> np.ndarray:
        """The noise of this step, float32 [N, A], made of standard normal numbers."""
        if self._kind == "normal":
            return (self._std * normal_NA).astype(np.float32)
        self._last = self._last - _THETA * _DT * self._last + self._std * np.sqrt(_DT) * normal_NA
        return self._last.astype(np.float32)

    def reset(self, envs: Sequence[int]) -> None:
        """Episodes of these environments have ended."""
        self._last[list(envs)] = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"last": self._last.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        last = np.asarray(state["last"])
        if last.shape == self._last.shape:
            self._last[:] = last
