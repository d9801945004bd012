"""Observation and action spaces as plain values, so that a checkpoint can say what it was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces


def space_to_plain(space: spaces.Space[Any]) -> dict[str, Any]:
    """A space as plain values and arrays."""
    if isinstance(space, spaces.Dict):
        return {"kind": "Dict", "parts": {key: space_to_plain(part) for key, part in space.spaces.items()}}
    if isinstance(space, spaces.Box):
        return {"kind": "Box", "low": space.low, "high": space.high, "dtype": str(space.dtype)}
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"kind": "MultiDiscrete", "nvec": [int(n) for n in space.nvec]}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "MultiBinary", "shape": [int(n) for n in space.shape]}
    raise TypeError(f"space {space} cannot be stored")


def space_from_plain(plain: dict[str, Any]) -> spaces.Space[Any]:
    """The inverse of `space_to_plain`."""
    kind = plain["kind"]
    if kind == "Dict":
        return spaces.Dict([(key, space_from_plain(part)) for key, part in plain["parts"].items()])  # in this order
    if kind == "Box":
        dtype = np.dtype(plain["dtype"])
        low, high = np.asarray(plain["low"]).astype(dtype), np.asarray(plain["high"]).astype(dtype)
        return spaces.Box(low, high, dtype=dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(plain["n"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(plain["nvec"])
    if kind == "MultiBinary":
        shape = plain["shape"]
        return spaces.MultiBinary(shape if len(shape) > 1 else shape[0])
    raise ValueError(f"unknown kind of space '{kind}'")


def describe(space: spaces.Space[Any]) -> str:
    """A space in a few words: what must be equal for weights to fit."""
    if isinstance(space, spaces.Dict):
        return "Dict(" + ", ".join(f"{key}: {describe(part)}" for key, part in space.spaces.items()) + ")"
    if isinstance(space, spaces.Box):
        return f"Box{tuple(int(n) for n in space.shape)} {space.dtype}"
    if isinstance(space, spaces.Discrete):
        return f"Discrete({int(space.n)})"
    if isinstance(space, spaces.MultiDiscrete):
        return f"MultiDiscrete({[int(n) for n in space.nvec]})"
    if isinstance(space, spaces.MultiBinary):
        shape = tuple(int(n) for n in space.shape)
        return f"MultiBinary({shape if len(shape) > 1 else shape[0]})"
    return str(space)
