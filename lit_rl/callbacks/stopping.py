"""Stopping between two iterations: by a signal, or at a timestep set beforehand."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from lit_rl.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_STOPPED
from lit_rl.process import STOP_SIGNALS, is_owned, on_screen
from lit_rl.training.module import RLModule

_PATIENCE_S = 3.0
"""So long may an evaluation go on after a signal, and so long does an end go on that Ctrl-C would cut short."""


class StopRequest:
    """Remembers that a signal asked the run to stop, and says so. The handler does nothing else, so it may come at any
    point.

    A second Ctrl-C leaves the process at once. Once the last state has been saved no signal changes the exit code. A
    signal that was ignored when the run began (`nohup`) stays ignored.

    Args:
        speaks: whether it says so; one of several ranks does.
    """

    def __init__(self, speaks: bool = True) -> None:
        self._speaks = speaks
        self.signal: signal.Signals | None = None
        self.doing: Callable[[], str] = lambda: "beginning"
        """Says what the run is busy with."""
        self._since = 0.0
        self._decided: int | None = None
        self._heeded = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]

    def decide(self, code: int) -> None:
        """The run has ended and its state is saved: the process exits with this, whatever comes."""
        self._decided, self._since = code, time.monotonic()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._decided is not None:
            if number == signal.SIGINT and time.monotonic() - self._since > _PATIENCE_S:
                os._exit(self._decided)  # something of the user's goes on, such as a logger that uploads
            return
        if number == signal.SIGINT and self.signal is signal.SIGINT:
            os._exit(EXIT_INTERRUPTED)
        if self.signal is None:
            self._since = time.monotonic()
            self._answer(signal.Signals(number).name)
        self.signal = signal.Signals(number)

    def _answer(self, name: str) -> None:
        if not self._speaks:
            return
        text = f"\n{name}: stopping at the end of this iteration ({self.doing()}), and saving"
        text += "; Ctrl-C again leaves at once, unsaved\n" if name == "SIGINT" else "\n"
        with contextlib.suppress(OSError):
            os.write(2, on_screen(text, sys.stderr).encode())  # print() may not be entered twice

    def name(self) -> str | None:
        """The signal that has come, if one has."""
        return None if self.signal is None else self.signal.name

    def overdue(self) -> str | None:
        """The signal, once it has waited for as long as an evaluation may go on."""
        if self.signal is None or time.monotonic() - self._since < _PATIENCE_S:
            return None
        return self.signal.name

    def install(self) -> dict[signal.Signals, Any]:
        """Take the stop signals over; returns the handlers that were there. Only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, self._handle) for number in self._heeded}

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Take the stop signals over for a while; for good where the process ends with the run."""
        before = self.install()
        try:
            yield self
        finally:
            for number, handler in before.items():
                after = signal.SIG_DFL if handler is None else handler
                signal.signal(number, signal.SIG_IGN if is_owned() else after)


class Stopper(Callback):
    """Ends training at an iteration boundary when a signal came, or when a pause is due.

    Args:
        request: where the signal handlers leave their word.
        pause_at: end the segment at the first iteration boundary at or past this timestep.
    """

    def __init__(self, request: StopRequest, pause_at: int | None = None) -> None:
        self._request = request
        self._pause_at = pause_at
        self.cause: str | None = None
        """Why training was stopped before its target; `None` if it was not."""

    @property
    def by_signal(self) -> bool:
        """Whether a signal ended training."""
        return self.cause in {number.name for number in STOP_SIGNALS}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        module = pl_module
        self._request.doing = lambda: f"{module.loop.phase}, timestep {module.play.timesteps:,}"
        pl_module.asked_to_stop = lambda: self._request.overdue() or module.ranks.overdue(_PATIENCE_S)
        self._request.install()  # Lightning has put its own handlers in by now
        self.look(trainer, pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        self._request.decide(EXIT_OK if pl_module.loop.finished else EXIT_STOPPED)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        if not pl_module.ranks.alone:  # Lightning asks once more whether to stop before it begins
            self.look(trainer, pl_module)

    def look(self, trainer: Trainer, module: RLModule) -> None:
        """Decide whether training ends here. All ranks look together, at the end of an iteration.

        Whichever rank a signal came to, and on whichever a callback has set `should_stop`: all stop.
        """
        if module.loop.finished:
            trainer.should_stop = True
            return
        wished = _who_stopped(trainer) if trainer.should_stop else None
        asked, wishes = zip(*module.ranks.gather((self._request.name(), wished)), strict=True)
        cause = next((name for name in asked if name is not None), None)
        wished = next((who for who in wishes if who is not None), None)
        if cause is not None:
            self.cause = cause
            trainer.should_stop = True
        elif self._pause_at is not None and module.counters.timesteps >= self._pause_at:
            self.cause = "pause_at"
            trainer.should_stop = True
        elif wished is not None:
            self.cause = wished
            trainer.should_stop = True


def _who_stopped(trainer: Trainer) -> str:
    """Who has set `should_stop`, as far as it can be told."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for timer in (each for each in callbacks if isinstance(each, Timer)):
        left = timer.time_remaining()
        if left is not None and left <= 0:
            return "trainer.max_time"
    return "a callback (should_stop)"
