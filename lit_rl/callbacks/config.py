"""What the `checkpoint` block of a run's YAML says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from lit_rl.errors import ConfigError
from lit_rl.ops.limits import above, at_least, check_record

if TYPE_CHECKING:  # which takes seconds to import, and a mistake in the block is answered before
    from lit_rl.training.module import RLModule

View = Literal["bar", "levels"]
"""What a terminal shows while a run goes."""


def check_view(view: View, module: RLModule) -> None:
    """Refuse to show what this run has not.

    Raises:
        ConfigError: names the key.
    """
    if view == "levels" and module.curriculum is None:
        raise ConfigError("view is levels, and this run has no curriculum; remove it.")


@dataclass
class CheckpointConfig:
    """When the state is saved, and how many are kept. It is always saved when a run stops or finishes.

    Args:
        every_timesteps: save at the first iteration boundary at or past each multiple; `null` does not.
        every_minutes: the same in minutes of training, counted over all segments of the run; `null` does not.
        keep_last: how many of the newest checkpoints to keep. The best one is kept besides.
        keep_every: timesteps; keep the first checkpoint at or past each multiple for good.
        save_best: save after the best evaluation so far.
        before_promotion: save when the curriculum promotes, before anything is played on the new level, and keep it.
        background: write beside the iterations that follow; with several ranks, training waits all the same.
    """

    LIMITS: ClassVar = {
        "every_timesteps": at_least(1),
        "every_minutes": above(0),
        "keep_last": at_least(1),
        "keep_every": at_least(1),
    }

    every_timesteps: int | None = 50_000
    every_minutes: float | None = None
    keep_last: int = 3
    keep_every: int | None = None
    save_best: bool = True
    before_promotion: bool = False
    background: bool = True

    def __post_init__(self) -> None:
        check_record(self, "checkpoint")

    def check(self, module: RLModule) -> None:
        """Refuse what cannot happen in this run.

        Raises:
            ConfigError: names the setting.
        """
        curriculum = module.curriculum
        if self.before_promotion and curriculum is None:
            raise ConfigError("checkpoint.before_promotion is true, and this run has no curriculum; remove it.")
        if self.before_promotion and curriculum is not None and not curriculum.promotes:
            raise ConfigError(
                "checkpoint.before_promotion is true, and this curriculum promotes nothing as a whole; remove it."
            )

    def passed(self, before: Moment, now: Moment) -> bool:
        """Whether a multiple of an interval lies between two moments of the run."""
        every_s = None if self.every_minutes is None else 60.0 * self.every_minutes
        return _passed(self.every_timesteps, before.timesteps, now.timesteps) or _passed(
            every_s, before.seconds, now.seconds
        )


@dataclass(frozen=True)
class Moment:
    """Where a run stands: its timesteps, and the seconds of training in all its segments."""

    timesteps: int
    seconds: float

    @classmethod
    def of(cls, module: RLModule) -> Moment:
        return cls(module.counters.timesteps, module.log_book.seconds)


def _passed(every: float | None, before: float, now: float) -> bool:
    return every is not None and now // every > before // every
