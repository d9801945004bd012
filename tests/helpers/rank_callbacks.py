"""Callbacks that do something on one rank alone."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

from lightning.pytorch import Callback, Trainer


class StopOn(Callback):
    """Sets `should_stop` in one hook of one rank."""

    def __init__(self, rank: int = 0, hook: str = "on_train_batch_end") -> None:
        self._rank, self._hook = rank, hook

    def _stop(self, trainer: Trainer, hook: str) -> None:
        if trainer.global_rank == self._rank and hook == self._hook:
            trainer.should_stop = True

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        self._stop(trainer, "on_train_start")

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        self._stop(trainer, "on_train_epoch_start")

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._stop(trainer, "on_train_batch_end")


class DieInBarrier(Callback):
    """Rank 1 is killed while the others wait in a barrier of Lightning's."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        trainer.strategy.barrier("the user's own")


class HoldTheLock(Callback):
    """Native code on one rank that keeps Python's lock, and with it the heartbeat, for a while."""

    def __init__(self, seconds: int, rank: int = 1) -> None:
        self._seconds, self._rank = seconds, rank

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_rank == self._rank:
            ctypes.PyDLL(None).sleep(self._seconds)


class Counts(Callback):
    """Keeps something else on every rank."""

    def __init__(self) -> None:
        self.count = 0

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.count += 1 + 100 * trainer.global_rank

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]
