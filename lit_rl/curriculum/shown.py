"""What of an episode's task a policy can see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lit_rl.errors import ConfigError


@dataclass(frozen=True)
class Shown:
    """Numbers that stand behind an observation: the index of the level, of each dimension that has several, and the
    parameters that are made for each episode, as they are. (`env.normalize` scales them with the rest.)

    Args:
        sizes: how many levels each dimension has.
        names: of the parameters.
    """

    sizes: tuple[int, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return sum(size > 1 for size in self.sizes) + len(self.names)

    def of(self, level: int, values: Mapping[str, Any]) -> np.ndarray:
        """float32 [K] for an episode.

        Args:
            level: index of its level.
            values: all parameters of it, by name.

        Raises:
            ConfigError: one of them is not a number.
        """
        indices = []
        for size in reversed(self.sizes):
            level, at = divmod(level, size)
            indices += [at] if size > 1 else []
        return np.array([*reversed(indices), *(_number(name, values[name]) for name in self.names)], dtype=np.float32)


def _number(name: str, value: Any) -> float:
    if not isinstance(value, int | float):
        raise ConfigError(f"curriculum.visible: '{name}' is {value!r}, which is no number to show; remove one of both.")
    return float(value)
