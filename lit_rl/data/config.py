"""What `model.prioritized_replay` and `model.her` of a run's YAML say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lit_rl.ops.limits import above, at_least, check_record
from lit_rl.ops.schedules import Schedule, ScheduleLike, as_schedule


@dataclass(frozen=True)
class PrioritizedReplay:
    """How priorities are made of errors, and how much is made up for sampling by them.

    Args:
        alpha: how much the error counts: the priority is ``(|error| + epsilon) ** alpha``; 0 samples uniformly.
        beta: how much of the bias importance weights take out, 1 all of it; a number or a schedule.
        epsilon: added to every error, so that none is never sampled again.
    """

    LIMITS: ClassVar = {"alpha": at_least(0), "epsilon": above(0)}

    alpha: float = 0.6
    beta: ScheduleLike = field(default_factory=lambda: Schedule(0.4, 1.0))
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        check_record(self, "model.prioritized_replay")
        as_schedule(self.beta, "model.prioritized_replay.beta", at_least(0))


@dataclass(frozen=True)
class HindsightReplay:
    """How goals are chosen again; names and defaults of SB3's HerReplayBuffer.

    Args:
        n_sampled_goal: transitions with another goal for each one that keeps its own.
        goal_selection_strategy: the new goal is what was achieved by a step of the same episode: `future` for one at or
            after the transition, `final` for the last, `episode` for any.
    """

    LIMITS: ClassVar = {"n_sampled_goal": at_least(1)}

    n_sampled_goal: int = 4
    goal_selection_strategy: Literal["future", "final", "episode"] = "future"

    def __post_init__(self) -> None:
        check_record(self, "model.her")
