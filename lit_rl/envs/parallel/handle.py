"""A worker process as the trainer sees it."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from lit_rl.envs.parallel.line import NUMBERS, TRAINER
from lit_rl.envs.parallel.worker import NOT_OURS, Task, serve

_TAIL = 2000
"""Characters of a lost worker's standard error that are reported with the error."""


@contextlib.contextmanager
def _held(signals: list[signal.Signals]) -> Iterator[None]:
    """Let signals wait, also in a process that is started meanwhile: it begins with nobody to ignore them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StderrTail:
    """What a worker writes to standard error: passed on, and its end remembered.

    Args:
        source: the end of the pipe to read from.
    """

    def __init__(self, source: Connection) -> None:
        self._source = source
        self._end = b""
        self._thread = threading.Thread(target=self._pass_on, name="lit_rl stderr", daemon=True)
        self._thread.start()

    def _pass_on(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._source.fileno(), 65536):
                self._end = (self._end + data)[-_TAIL:]
                with contextlib.suppress(OSError):
                    os.write(2, data)
        self._source.close()

    def last(self) -> str:
        """The end of it, once the worker has ended."""
        self._thread.join(1)
        return self._end.decode(errors="replace").strip()


class Worker:
    """A worker process as the trainer sees it.

    Args:
        task: what it is there for.
    """

    def __init__(self, task: Task) -> None:
        self.positions = task.positions
        """Positions of its environments."""
        context = mp.get_context("spawn")
        pipe, theirs = context.Pipe()
        start = NUMBERS * task.positions.start
        task.layout.lines[start : start + NUMBERS] = [0] * NUMBERS  # a lost worker's may stand there
        self.line = task.line(pipe, TRAINER)
        ours, stderr = context.Pipe(duplex=False)
        first, last = task.offset + task.positions.start, task.offset + task.positions.stop - 1
        self.process = context.Process(
            target=serve, args=(theirs, stderr, task), name=f"lit_rl environments {first} to {last}", daemon=True
        )
        resource_tracker.ensure_running()  # which would let signals through again
        with _light_main(), _held(NOT_OURS):
            self.process.start()
        theirs.close()
        stderr.close()
        self.stderr = StderrTail(ours)

    def end(self, patience_s: float) -> None:
        """Wait a while for it to end, then end it."""
        self.process.join(patience_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.line.pipe.close()


@contextlib.contextmanager
def _light_main() -> Any:
    """Spawned processes import the parent's main module again: spare them ours, which they do not need, and none."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    ours = spec is not None and spec.name.split(".")[0] == "lit_rl"
    typed = not os.path.exists(getattr(main, "__file__", None) or os.curdir)  # as standard input, which has no file
    if not (ours or typed):
        yield
        return
    file = main.__dict__.pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        main.__spec__ = spec
        if file is not None:
            main.__file__ = file
