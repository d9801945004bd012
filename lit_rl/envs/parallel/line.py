"""Messages between the trainer and a worker that cost little: a counter in shared memory beside a pipe.

Messages of one byte, which are those of every step, stand in shared memory; longer ones go through the pipe. Who waits
looks at the other side's counter for a moment, and then sleeps at the pipe until it is woken: asleep, it takes no time
from others, and what ends the other process ends the sleep.

A counter says that what was written before it is there. Processors with the total store order of x86 keep that
promise by themselves; elsewhere, and where there are more processes than cores, everything goes through the pipe.
"""

from __future__ import annotations

import os
import time
from multiprocessing.connection import Connection
from typing import Any

from lit_rl.process import writes_in_order

TRAINER, WORKER = 0, 1
"""The two sides."""
NUMBERS = 6
"""Of shared memory that a line needs: for each side how much it has sent, its last byte, and whether it sleeps."""
_SENT, _BYTE, _ASLEEP = 0, 2, 4
_WATCH_S = 1e-3
_NAP_S = 0.01
"""The longest sleep before the counter is looked at again: a wake-up can be missed, and then costs this."""
_WAKE = b"w"
_IN_THE_PIPE = 0
_ONE_BYTE: list[bytes] = [bytes((i,)) for i in range(256)]
_yield = getattr(os, "sched_yield", lambda: time.sleep(0))


def can_watch(processes: int, cores: int) -> bool:
    """Whether so many processes may watch counters on so many cores."""
    return writes_in_order() and processes <= cores


class Line:
    """One side of a line. Each side sends and waits for the answer in turn; only `CLOSE` may come before its turn.

    Args:
        pipe: this side's end.
        numbers: shared int64 numbers; `None` to send everything through the pipe.
        at: where the line's own begin in them.
        side: `TRAINER` or `WORKER`.
    """

    def __init__(self, pipe: Connection, numbers: Any | None, at: int, side: int) -> None:
        self.pipe = pipe
        self._numbers = numbers
        self._own, self._other = at + side, at + 1 - side
        self._seen = 0

    def send(self, message: bytes) -> None:
        """Give the other side a message.

        Raises:
            OSError: it is gone. (Where it does not sleep, that shows when its answer is waited for.)
        """
        numbers = self._numbers
        if numbers is None:
            self.pipe.send_bytes(message)
            return
        short = len(message) == 1
        numbers[self._own + _BYTE] = message[0] if short else _IN_THE_PIPE
        numbers[self._own + _SENT] += 1
        if not short:
            self.pipe.send_bytes(message)
        elif numbers[self._other + _ASLEEP]:
            self.pipe.send_bytes(_WAKE)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a message; whether there is one after `timeout` seconds.

        Raises:
            EOFError, OSError: the other side is gone.
        """
        numbers = self._numbers
        if numbers is None:
            return self.pipe.poll(timeout)
        at, seen = self._other + _SENT, self._seen
        if numbers[at] != seen:
            return True
        begun = time.perf_counter()
        while time.perf_counter() - begun < _WATCH_S:
            if numbers[at] != seen:
                return True
            _yield()
        return self._sleep(numbers, None if timeout is None else begun + timeout)

    def _sleep(self, numbers: Any, until: float | None) -> bool:
        at = self._other + _SENT
        numbers[self._own + _ASLEEP] = 1
        try:
            while numbers[at] == self._seen:
                left = _NAP_S if until is None else min(until - time.perf_counter(), _NAP_S)
                if left <= 0:
                    return False
                if self.pipe.poll(left) and numbers[at] == self._seen:
                    self.pipe.recv_bytes()  # a wake-up that came when this side was awake already, or the end
            return True
        finally:
            numbers[self._own + _ASLEEP] = 0

    def receive(self) -> bytes:
        """The message that `wait` has said is there.

        Raises:
            EOFError, OSError: the other side is gone.
        """
        numbers = self._numbers
        if numbers is None:
            return self.pipe.recv_bytes()
        self._seen = numbers[self._other + _SENT]
        byte: int = numbers[self._other + _BYTE]
        if byte != _IN_THE_PIPE:
            return _ONE_BYTE[byte]
        message = _WAKE
        while message == _WAKE:
            message = self.pipe.recv_bytes()
        return message
