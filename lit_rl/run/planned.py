"""What a mode comes to for a module: decided, checked, and nothing written yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lit_rl.checkpoint.reader import Opened
from lit_rl.run.adopt import Adopted
from lit_rl.run.config import Mode
from lit_rl.run.drift import Change
from lit_rl.run.requeue import Requeued

Schedules = Literal["keep", "stretch", "hold"]


@dataclass
class Plan:
    """What a mode comes to for this module: decided, checked, and nothing written yet.

    Args:
        mode: how the run begins.
        target: the timestep it goes to.
        directory: the run directory of a resumed run.
        checkpoint: what a resumed run goes on from.
        timesteps: where it stands.
        schedule: what schedules do if the target has moved.
        additional: the amount of timesteps asked for, and `counted_from` where.
        n_envs_before: how many environments the run had, where that changes.
        fork: whether a new run begins from the checkpoint, in place of the run it belongs to.
        moved: whether it has.
        parents: what a warmstart has read.
        changed: settings that differ from the run's.
        notes: lines for the banner.
        extended: whether the `resume` block gives the target, so that the run goes on past an end before it.
        reached: mean return of the evaluation that ended the run by `eval.stop_on_reward`.
        ended_early: why an EarlyStopping has ended it.
        computed: with which device and precision a resumed run was, where its checkpoint says so.
        requeued: what a command with `requeue: true` has found.
        adopted: what a run of stable-baselines3's that goes on here has left.
    """

    mode: Mode
    target: int
    directory: Path | None = None
    checkpoint: Opened | None = None
    timesteps: int = 0
    schedule: Schedules = "keep"
    moved: bool = False
    additional: int | None = None
    counted_from: int | None = None
    n_envs_before: int | None = None
    fork: bool = False
    parents: list[dict[str, Any]] = field(default_factory=list)
    changed: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    extended: bool = False
    reached: float | None = None
    ended_early: str | None = None
    computed: dict[str, Any] | None = None
    requeued: Requeued | None = None
    adopted: Adopted | None = None

    @property
    def begins_as(self) -> str:
        """How a run directory of its own begins, as the lineage says it."""
        return "adopt" if self.adopted is not None else "fork" if self.fork else self.mode

    @property
    def nothing_to_do(self) -> bool:
        """A resumed run that is at its target already, or ended by an evaluation or an EarlyStopping."""
        ended = self.reached is not None or self.ended_early is not None
        return self.mode == "resume" and (self.timesteps >= self.target or ended)

    def why_nothing(self) -> str:
        """Why there is nothing to do, and how to go on all the same."""
        at = f"timestep {self.timesteps:,} of {self.target:,}"
        if self.reached is not None:
            return (
                f"finished by stop_on_reward: {at}, where the evaluation gave {self.reached:.4g}; nothing to do. "
                "To go on, raise eval.stop_on_reward, or give resume.additional_timesteps."
            )
        if self.ended_early is not None:
            return (
                f"finished by early_stopping: {at}, where EarlyStopping said: {self.ended_early}; nothing to do. To go "
                "on, take it out of trainer.callbacks or change it, or give resume.additional_timesteps."
            )
        return f"finished: {at}; nothing to do. To go on, give resume.additional_timesteps or resume.total_timesteps."
