"""Random numbers by position in a stream, made in blocks: each costs little, and none is state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lit_rl.ops.streams import generator

BLOCK = 128


class Draws:
    """What a stream gives at position 0, 1, 2, ...; whatever was asked for before, position i gives the same.

    A generator by counter takes longer to make than it takes to draw from; one is made for `BLOCK` positions.

    Args:
        run_seed: the run's seed.
        stream: its name; see `ops.streams`.
        key: its counters, beside the block's.
        draw: makes what stands at `BLOCK` positions, an array [BLOCK, ...] or a tuple of them.
    """

    def __init__(self, run_seed: int, stream: str, *key: int, draw: Callable[[np.random.Generator, int], Any]) -> None:
        self._run_seed, self._stream, self._key, self._draw = run_seed, stream, key, draw
        self._block = -1
        self._values: Any = None

    def __getitem__(self, position: int) -> Any:
        """What stands there: [...], or a tuple."""
        block, offset = divmod(position, BLOCK)
        if block != self._block:
            self._values, self._block = self.block(block), block
        return _at(self._values, offset)

    def block(self, index: int) -> Any:
        """What stands at the `BLOCK` positions of a block."""
        return self._draw(generator(self._run_seed, self._stream, *self._key, index), BLOCK)


class SideBySide:
    """Several streams at once, such as one an environment.

    Args:
        streams: N of them, whose draws are alike.
    """

    def __init__(self, streams: Sequence[Draws]) -> None:
        self._streams = streams
        self._block = -1
        self._values: Any = None

    def __getitem__(self, position: int) -> Any:
        """What stands there in each: [N, ...], or a tuple of such; views that must not be written to."""
        block, offset = divmod(position, BLOCK)
        if block != self._block:
            each = [stream.block(block) for stream in self._streams]
            tuples = isinstance(each[0], tuple)
            self._values = tuple(_stacked(part) for part in zip(*each, strict=True)) if tuples else _stacked(each)
            self._block = block
        return _at(self._values, offset)


def _stacked(each: Sequence[np.ndarray]) -> np.ndarray:
    """[BLOCK, N, ...] of N arrays [BLOCK, ...]."""
    return np.stack(each, axis=1)


def _at(values: Any, offset: int) -> Any:
    return tuple(part[offset] for part in values) if isinstance(values, tuple) else values[offset]
