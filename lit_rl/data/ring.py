"""Memory that comes round: columns of rows by number, and their names in a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from lit_rl.data.rollout import batch_of
from lit_rl.ops.tree import tree_map


def memory(space: spaces.Space[Any], *lead: int) -> Any:
    """Zeros for observations of `space`, which take no memory before something is written there."""
    one = batch_of(space, *(1 for _ in lead))
    return tree_map(lambda part: torch.from_numpy(np.zeros((*lead, *part.shape[len(lead) :]), part.numpy().dtype)), one)


def copied(part: Any) -> np.ndarray:
    """An array of its own."""
    array: np.ndarray = part.numpy().copy() if isinstance(part, Tensor) else np.array(part)
    return array


def stored(part: Any, like: np.ndarray) -> np.ndarray:
    """The same, of the type of `like`."""
    return np.array(part, dtype=like.dtype)


def named(name: str, tree: Any) -> dict[str, np.ndarray]:
    """The leaves of a tree, each by its path."""
    if isinstance(tree, dict):
        return {path: leaf for key in tree for path, leaf in named(f"{name}/{key}", tree[key]).items()}
    return {name: tree}


def spans(size: int, begin: int, end: int) -> Iterator[tuple[slice, slice]]:
    """Where rows lie in a ring of `size`, and where among themselves: one span, or two where the ring comes round."""
    at = begin
    while at < end:
        slot = at % size
        stop = min(end, at + size - slot)
        yield slice(slot, slot + stop - at), slice(at - begin, stop - begin)
        at = stop


def read(ring: np.ndarray, begin: int, end: int) -> np.ndarray:
    """A copy of some rows of a ring, in order."""
    found = np.empty((end - begin, *ring.shape[1:]), ring.dtype)
    for slots, rows in spans(len(ring), begin, end):
        found[rows] = ring[slots]
    return found


def write(ring: np.ndarray, begin: int, values: np.ndarray) -> None:
    """Put rows into a ring, from the one of number `begin` on."""
    for slots, rows in spans(len(ring), begin, begin + len(values)):
        ring[slots] = values[rows]


def unnamed(name: str, columns: dict[str, np.ndarray], i: int, like: Any) -> Any:
    """The inverse of `named` for place i of each column, in the shape of `like`."""
    if isinstance(like, dict):
        return {key: unnamed(f"{name}/{key}", columns, i, part) for key, part in like.items()}
    return np.array(columns[name][i])  # an array also of a single number
