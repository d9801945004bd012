"""Global random streams of Python, NumPy and torch, for environments that draw from them.

No seed of an episode reaches those, and every environment of a process draws from the same ones. An environment that
draws from them is given its own: they stand in the place of the process's while it is at work, and each episode seeds
them. So what it does is the same in this process and in a worker, beside others and alone, and at a resume.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

Streams = tuple[Any, Any, Any]


def _torch() -> Any:
    """torch, if anybody here has imported it: a worker needs none of its own."""
    return sys.modules.get("torch")


def present() -> Streams:
    """State of the process's global streams."""
    torch = _torch()
    numpy = np.random.get_state()  # noqa: NPY002  the stream of others
    return random.getstate(), numpy, None if torch is None else torch.get_rng_state()


def put_in_place(streams: Streams) -> None:
    """Make these the process's global streams."""
    random.setstate(streams[0])
    np.random.set_state(streams[1])  # noqa: NPY002
    if streams[2] is not None:
        _torch().set_rng_state(streams[2])


def same(one: Streams, other: Streams) -> bool:
    """Whether nothing has been drawn between two moments."""
    (python, numpy, torch_), (python2, numpy2, torch2) = one, other
    rest = numpy[2:] == numpy2[2:] and np.array_equal(numpy[1], numpy2[1])
    drawn = torch_ is not None and torch2 is not None and not _torch().equal(torch_, torch2)
    return python == python2 and rest and not drawn


@contextlib.contextmanager
def put_back() -> Iterator[Streams]:
    """Whatever is drawn in here, the streams are as before afterwards."""
    before = present()
    try:
        yield before
    finally:
        put_in_place(before)


class OwnStreams:
    """The streams of one environment. Entered by every method that lets it work; may be entered within itself."""

    def __init__(self) -> None:
        self._own: Streams | None = None
        self._others: Streams | None = None
        self._depth = 0

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1:
            self._others = present()
            if self._own is not None:
                put_in_place(self._own)

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._own = present()
            assert self._others is not None
            put_in_place(self._others)

    @staticmethod
    def seed(seed: int) -> None:
        """Begin all streams anew; called while they stand in place.

        Args:
            seed: in [0, 2**32).
        """
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        if _torch() is not None:
            _torch().default_generator.manual_seed(seed)
