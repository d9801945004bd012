"""The side of a number on which a rule is met."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lit_rl.errors import ConfigError


@dataclass(frozen=True)
class Bound:
    """At or above `threshold`, or strictly under `below`; exactly one of them is given."""

    threshold: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        if self.threshold is None and self.below is None:
            raise ConfigError("threshold: missing; give `threshold` (met at or above it) or `below`.")
        if self.threshold is not None and self.below is not None:
            raise ConfigError("below: given together with `threshold`, and a rule has one bound; remove one.")
        name, value = ("below", self.below) if self.threshold is None else ("threshold", self.threshold)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigError(f"{name}: must be a finite number, is {value!r}.")

    def met(self, value: float) -> bool:
        """Whether `value` lies on the asked side."""
        if self.threshold is not None:
            return value >= self.threshold
        assert self.below is not None
        return value < self.below


def whole_number(name: str, value: Any) -> int:
    """`value` as an int of at least 1; 1e6 counts as whole, True does not."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or value < 1:
        raise ConfigError(f"{name}: must be a whole number of at least 1, is {value!r}.")
    if value > 2**53:
        raise ConfigError(f"{name}: is {value!r}; it must be below {2**53:,}.")
    return int(value)
