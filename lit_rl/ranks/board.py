"""A board that all ranks of one machine write on and read: what gradients are added over, without a network between.

gloo takes about a millisecond for the gradient of a small network, mostly for being woken. Here each rank writes its
row into memory that they share and counts; who finds that all have counted reads all rows. Rows alternate between two
places: a rank can be one exchange ahead of another and no more, so nobody writes over what is still read.

A counter says that what was written before it is there, which processors with the total store order of x86 promise by
themselves. Elsewhere, and between machines, gloo does it.
"""

from __future__ import annotations

import mmap
import os
import secrets
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lit_rl.process import writes_in_order

_DIRECTORY = "/dev/shm"
_LINE = 64
"""Bytes between two counters: each in a cache line of its own."""
_WATCH_S = 2e-3
_NAP_S = 1e-4
_ASK_S = 0.2
"""How often a rank that waits asks whether another is lost."""


class Lost(Exception):
    """A rank will not come any more."""


class Board:
    """One rank's view of the board.

    Args:
        file: what it lies in, as `create` has made it. It may go once all have opened it.
        rank: of this process.
        size: how many ranks there are.
        capacity: bytes of a row.
    """

    def __init__(self, file: str, rank: int, size: int, capacity: int) -> None:
        with open(file, "r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), _bytes(size, capacity))
        self.capacity = capacity
        self._rank, self._size = rank, size
        self._counts = memoryview(self._memory)[: size * _LINE].cast("q")
        rows = torch.frombuffer(self._memory, dtype=torch.uint8, offset=size * _LINE, count=2 * size * capacity)
        self._rows = rows.view(2, size, capacity)
        self._done = 0

    @staticmethod
    def create(size: int, capacity: int) -> str | None:
        """A file for a board; `None` where there is no place in memory for it."""
        if not (writes_in_order() and os.path.isdir(_DIRECTORY)):
            return None
        path = os.path.join(_DIRECTORY, f"lit_rl-{secrets.token_hex(8)}")
        try:
            opened = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        except OSError:
            return None
        try:
            os.posix_fallocate(opened, 0, _bytes(size, capacity))  # what is not there would end the process later
        except OSError:
            os.unlink(path)
            return None
        finally:
            os.close(opened)
        return path

    def exchange(self, row: Tensor, lost: Callable[[], bool]) -> list[Tensor]:
        """Show a row to all ranks, and wait for theirs. All ranks call it with rows of one shape.

        Args:
            row: contiguous, on the CPU, of at most `capacity` bytes.
            lost: whether a rank is known to be gone.

        Returns:
            the rows of all ranks, in their order; they are there until this rank's next exchange.

        Raises:
            Lost: one is gone.
        """
        self._done += 1
        used = row.numel() * row.element_size()
        place = self._rows[self._done % 2, :, :used]
        place[self._rank].view(row.dtype).copy_(row.view(-1))
        self._counts[self._rank * (_LINE // 8)] = self._done
        for rank in range(self._size):
            if self._counts[rank * (_LINE // 8)] < self._done:
                self._wait(rank * (_LINE // 8), lost)
        return [place[rank].view(row.dtype).view(row.shape) for rank in range(self._size)]

    def _wait(self, at: int, lost: Callable[[], bool]) -> None:
        """Look for a moment, giving way to whoever wants to run here; then sleep between looks."""
        counts, done, begun = self._counts, self._done, time.perf_counter()
        while time.perf_counter() - begun < _WATCH_S:
            if counts[at] >= done:
                return
            os.sched_yield()
        asked = begun
        while counts[at] < done:
            time.sleep(_NAP_S)
            now = time.perf_counter()
            if now - asked > _ASK_S:
                asked = now
                if lost():
                    raise Lost


def _bytes(size: int, capacity: int) -> int:
    return size * (_LINE + 2 * capacity)
