"""A finished episode, as statistics, curriculum and log files see it."""

from __future__ import annotations

from dataclasses import dataclass

from lit_rl.data.task import Task


@dataclass(frozen=True)
class Episode:
    """A finished episode of one environment, below all wrappers.

    The episodes of an iteration are handed on in the order (step in the rollout, environment), which is the same for
    any number of ranks.

    Args:
        env_index: global index of its environment.
        ret: undiscounted return, in the environment's own rewards.
        length: steps of the environment.
        success: what the environment says at its end in ``info["is_success"]``, or ``info["success"]``, if it does.
        level: index of the curriculum's level it was played on, from its reset to its end; 0 without a curriculum.
        cut: whether an evaluation cut it off because it went on for too long.
        task: all that the curriculum gave it, where that is more than a level.
        score: how much there was to learn from it, where the curriculum asks the algorithm for that.
    """

    env_index: int
    ret: float
    length: int
    success: bool | None = None
    level: int = 0
    cut: bool = False
    task: Task | None = None
    score: float | None = None
