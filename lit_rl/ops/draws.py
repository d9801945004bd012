"""Random numbers by position in a stream, made in blocks: each costs little, and none is state."""

from __future__ import annotations

from collections.abc import Callable
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
            self._values = self._draw(generator(self._run_seed, self._stream, *self._key, block), BLOCK)
            self._block = block
        if isinstance(self._values, tuple):
            return tuple(part[offset] for part in self._values)
        return self._values[offset]
