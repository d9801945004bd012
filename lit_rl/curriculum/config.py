"""What the `curriculum` block of a run's YAML says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lit_rl.curriculum.levels import Level, read_levels
from lit_rl.ops.limits import check_record


@dataclass
class CurriculumConfig:
    """The levels of a run, from the first to the last.

    Args:
        levels: in the order in which they are played; none for a run without a curriculum.
    """

    levels: list[Level] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_record(self, "curriculum")

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> CurriculumConfig:
        """From nested dictionaries, as they stand in a YAML file or a checkpoint.

        Raises:
            ConfigError: a key is not known; names it.
        """
        return cls(read_levels(plain.get("levels") or []))
