"""A learning rate that follows a schedule over timesteps, as a torch scheduler that the Trainer saves and restores."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lit_rl.ops.schedules import Clock, Schedule


class ScheduledLR(LRScheduler):
    """Sets every parameter group to ``schedule(progress remaining at the timestep)``.

    Args:
        optimizer: whose learning rate it is.
        schedule: the learning rate over the run.
        clock: the run's time line.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, clock: Clock) -> None:
        self.optimizer = optimizer
        self._schedule = schedule
        self._clock = clock
        self.base_lrs = [schedule.start for _ in optimizer.param_groups]
        self.last_epoch = 0
        self.set_timestep(0)

    def set_timestep(self, timesteps: int) -> None:
        """Set the learning rate of timestep `timesteps`."""
        self.last_epoch = timesteps
        lr = self._schedule(self._clock.progress_remaining(timesteps))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self._last_lr = [lr for _ in self.optimizer.param_groups]

    def step(self, epoch: Any = None) -> None:
        """Not used: an iteration sets its own timestep."""
        raise NotImplementedError("call set_timestep()")

    def state_dict(self) -> dict[str, Any]:
        return {"last_epoch": self.last_epoch, "last_lr": list(self._last_lr)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last_epoch = state_dict["last_epoch"]
        self._last_lr = list(state_dict["last_lr"])
