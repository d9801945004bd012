"""Random numbers by position in a stream, made in blocks: each costs little, and none is state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lit_rl.ops.streams import generator

BLOCK = 128


class Draws:
    """What a stream gives at position 0, 1, 2, ...; whatever was asked for before, position i gives the same.

    A generator by counter takes longer to make than it takes to draw from; one is made for a block of positions.

    Args:
        run_seed: the run's seed.
        stream: its name; see `ops.streams`.
        key: its counters, beside the block's.
        draw: makes what stands at so many positions, an array [positions, ...] or a tuple of them.
        size: positions of a block.
    """

    def __init__(
        self,
        run_seed: int,
        stream: str,
        *key: int,
        draw: Callable[[np.random.Generator, int], Any],
        size: int = BLOCK,
    ) -> None:
        self._run_seed, self._stream, self._key, self._draw = run_seed, stream, key, draw
        self.size = size
        self._block = -1
        self._values: Any = None

    def __getitem__(self, position: int) -> Any:
        """What stands there: [...], or a tuple."""
        block, offset = divmod(position, self.size)
        if block != self._block:
            self._values, self._block = self.block(block), block
        return _at(self._values, offset)

    def block(self, index: int) -> Any:
        """What stands at the positions of a block."""
        return self._draw(generator(self._run_seed, self._stream, *self._key, index), self.size)


class SideBySide:
    """Several streams at once, such as one an environment.

    Args:
        streams: N of them, whose draws and blocks are alike.
    """

    def __init__(self, streams: Sequence[Draws]) -> None:
        self._streams, self._size = streams, streams[0].size
        self._block = -1
        self._values: Any = None

    def __getitem__(self, position: int) -> Any:
        """What stands there in each: [N, ...], or a tuple of such; views that must not be written to."""
        block, offset = divmod(position, self._size)
        if block != self._block:
            each = [stream.block(block) for stream in self._streams]
            tuples = isinstance(each[0], tuple)
            self._values = tuple(_stacked(part) for part in zip(*each, strict=True)) if tuples else _stacked(each)
            self._block = block
        return _at(self._values, offset)


def _stacked(each: Sequence[np.ndarray]) -> np.ndarray:
    """[positions, N, ...] of N arrays [positions, ...]."""
    return np.stack(each, axis=1)


def _at(values: Any, offset: int) -> Any:
    return tuple(part[offset] for part in values) if isinstance(values, tuple) else values[offset]
