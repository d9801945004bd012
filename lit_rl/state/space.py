"""Observation and action spaces as plain values, so that a checkpoint can say what it was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.state.plain import to_plain


def space_to_plain(space: spaces.Space[Any]) -> dict[str, Any]:
    """A space as plain values and arrays."""
    if isinstance(space, spaces.Dict):
        return {"kind": "Dict", "parts": {key: space_to_plain(part) for key, part in space.spaces.items()}}
    if isinstance(space, spaces.Box):
        return {"kind": "Box", "low": space.low, "high": space.high, "dtype": str(space.dtype)}
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n)} | _besides(space, {"start": int(space.start)}, {"start": 0})
    if isinstance(space, spaces.MultiDiscrete):
        flat = [int(n) for n in space.nvec.ravel()]
        given = {"start": [int(n) for n in space.start.ravel()], "shape": [int(n) for n in space.shape]}
        usual = {"start": [0] * len(flat), "shape": [len(flat)]}
        return {"kind": "MultiDiscrete", "nvec": flat} | _besides(space, given, usual)
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "MultiBinary", "shape": [int(n) for n in space.shape]}
    raise TypeError(f"space {space} cannot be stored")


def _besides(space: spaces.Space[Any], given: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """What is not as it usually is; its type among it."""
    given, usual = given | {"dtype": str(np.dtype(space.dtype))}, usual | {"dtype": "int64"}
    return {key: value for key, value in given.items() if value != usual[key]}


def storable(space: spaces.Space[Any]) -> dict[str, Any] | None:
    """A space as plain values that a checkpoint can hold; `None` where it cannot (an odd type or key)."""
    try:
        plain: dict[str, Any] = to_plain(space_to_plain(space))
        return plain
    except (TypeError, ValueError):
        return None


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
        typed = {"dtype": np.dtype(plain["dtype"]).type} if "dtype" in plain else {}
        return spaces.Discrete(plain["n"], start=plain.get("start", 0), **typed)
    if kind == "MultiDiscrete":
        shape = plain.get("shape", [len(plain["nvec"])])
        start = plain.get("start", [0] * len(plain["nvec"]))
        nvec, start = np.reshape(plain["nvec"], shape), np.reshape(start, shape)
        return spaces.MultiDiscrete(nvec, dtype=np.dtype(plain.get("dtype", "int64")).type, start=start)
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
