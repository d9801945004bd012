"""What one episode is played on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """What the curriculum gives to one episode, from its reset to its end.

    Args:
        level: index into the curriculum's levels; 0 without a curriculum.
        drawn: (name, value) of every parameter that was drawn or follows a ramp.
        seed: of the environment's reset, where levels are told apart by seeds; `None` for the episode's own.
        pinned: the bound that the episode is a test of, such as `wind.high`, where bounds adapt.
    """

    level: int = 0
    drawn: tuple[tuple[str, Any], ...] = ()
    seed: int | None = None
    pinned: str | None = None

    @property
    def is_level_alone(self) -> bool:
        """Whether there is nothing to it but the level."""
        return not self.drawn and self.seed is None and self.pinned is None

    def to_plain(self) -> dict[str, Any]:
        """What is more than the level, as plain values; empty where there is nothing."""
        plain: dict[str, Any] = {}
        if self.drawn:
            plain["drawn"] = dict(self.drawn)
        if self.seed is not None:
            plain["seed"] = self.seed
        if self.pinned is not None:
            plain["pinned"] = self.pinned
        return plain

    @classmethod
    def from_plain(cls, level: int, plain: Mapping[str, Any]) -> Task:
        """The inverse of `to_plain`."""
        return cls(level, tuple(plain.get("drawn", {}).items()), plain.get("seed"), plain.get("pinned"))
