"""Leave a level after a number of timesteps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lit_rl.curriculum.rules.bound import whole_number
from lit_rl.curriculum.rules.rule import Rule


class TimestepsRule(Rule):
    """Met once the run has spent `threshold` timesteps at the level, over all environments and ranks."""

    METRICS: ClassVar[tuple[str, ...]] = ("timesteps",)

    def __init__(self, threshold: int) -> None:
        self.threshold = whole_number("threshold", threshold)

    def due(self, timesteps_at_level: int) -> bool:
        """Whether the level has had its timesteps."""
        return timesteps_at_level >= self.threshold

    def reset(self) -> None:
        """Nothing to forget: the curriculum counts."""

    def state_dict(self) -> dict[str, Any]:
        """Empty: the curriculum counts."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to take over."""
