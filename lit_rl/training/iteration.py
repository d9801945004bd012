"""What happened in one iteration, for logs and callbacks; and the files of the run that take it in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lit_rl.curriculum import LevelChange
from lit_rl.data.episode import Episode
from lit_rl.training.evaluation import Evaluation


@dataclass
class Iteration:
    """One iteration: some cycles of a rollout and its update. It is no state: each begins with a new one.

    Args:
        timesteps: where the run stands at its end.
        seconds: time of training in all segments up to its end.
        cycles: how many there were.
        ended: episodes that ended in it, in the order (cycle, step, environment).
        level_changes: steps to other levels at its end, at most one of each dimension.
        evaluation: the one made at its end, if there was one.
        is_best: whether that evaluation was the best so far.
        with_levels: whether the run has a curriculum.
        metrics: of its last cycle and of the windows, by SB3's names.
    """

    timesteps: int = 0
    seconds: float = 0.0
    cycles: int = 0
    ended: list[Episode] = field(default_factory=list)
    level_changes: list[LevelChange] = field(default_factory=list)
    evaluation: Evaluation | None = None
    is_best: bool = False
    with_levels: bool = False
    metrics: dict[str, float] = field(default_factory=dict)


class Log(Protocol):
    """A file, or several, that a run writes and a resumed one goes on with."""

    def position(self) -> dict[str, Any]:
        """Where it stands, kept in the checkpoint."""

    def cut_to(self, position: dict[str, Any]) -> str | None:
        """Go back there. Returns what is missing, if something is."""

    def files(self) -> list[Path]:
        """Those it writes, that are there."""

    def begin_anew(self) -> None:
        """Its files cannot be gone on with and have been moved away."""


class Journal(Log, Protocol):
    """A log beside the loggers."""

    def write(self, iteration: Iteration) -> None:
        """Take in the iteration that has ended."""
