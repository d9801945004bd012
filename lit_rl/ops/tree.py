"""Observations are one array, or a dictionary of arrays for Dict spaces: the same code for both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Obs: TypeAlias = np.ndarray | dict[str, np.ndarray]
"""A batch of observations on the environment's side."""


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply `function` to every leaf of `tree` and the matching leaves of `others`."""
    if isinstance(tree, dict):
        return {key: tree_map(function, leaf, *(other[key] for other in others)) for key, leaf in tree.items()}
    return function(tree, *others)


def leaves(tree: Any) -> list[Any]:
    """All leaves, in key order."""
    if isinstance(tree, dict):
        return [leaf for key in tree for leaf in leaves(tree[key])]
    return [tree]


def write_at(batch: Any, i: int, value: Any) -> None:
    """Put `value` into place i of a batch, key by key."""
    if isinstance(batch, dict):
        for key, part in batch.items():
            write_at(part, i, value[key])
    else:
        batch[i] = value
