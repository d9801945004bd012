"""Tensors and plain Python values, and nothing else: what may lie in a checkpoint."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

_SCALARS = (str, int, float, bool, type(None))


def to_plain(value: Any, path: str = "") -> Any:
    """`value` with NumPy arrays as tensors, NumPy scalars as numbers and tuples kept.

    Raises:
        TypeError: something in it could be saved but not opened again without running code; names it by its path.
    """
    if isinstance(value, torch.Tensor):
        if type(value) is torch.nn.Parameter:
            return value.detach()
        return value
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        if array.dtype == np.uint32:
            array = array.astype(np.int64)
        return torch.from_numpy(array.copy())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str | int):
                raise TypeError(f"state{path}: key {key!r} is a {type(key).__name__}, not text or a whole number")
        return {key: to_plain(item, f"{path}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [to_plain(item, f"{path}[{i}]") for i, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if type(value) in _SCALARS:
        return value
    raise TypeError(
        f"state{path} is a {type(value).__module__}.{type(value).__qualname__}: not a tensor or a plain value"
    )


def first_not_finite(value: Any, path: str = "") -> str | None:
    """Where a state holds NaN or infinity in a tensor, as a path with the number; `None` where all are finite."""
    if isinstance(value, torch.Tensor):
        if not (value.is_floating_point() or value.is_complex()):
            return None
        bad = ~torch.isfinite(value.detach())
        if not bad.any():
            return None
        return f"{path} ({int(bad.sum())} of {value.numel()} numbers, first {value.detach()[bad].flatten()[0].item()})"
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    found = (first_not_finite(item, f"{path}.{key}" if path else str(key)) for key, item in items)
    return next((place for place in found if place), None)


def with_arrays(value: Any) -> Any:
    """What `to_plain` made, with NumPy arrays of their own in place of its tensors."""
    if isinstance(value, torch.Tensor):
        return value.cpu().numpy().copy()
    if isinstance(value, dict):
        return {key: with_arrays(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(with_arrays(item) for item in value)
    return value


def digest(value: Any) -> str:
    """sha256 over the content of tensors and plain values: equal exactly when every bit is equal."""
    sha = hashlib.sha256()
    for piece in _pieces(value):
        sha.update(piece)
    return sha.hexdigest()


def _pieces(value: Any) -> Iterator[bytes | memoryview]:
    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu().contiguous()
        yield f"T{tensor.dtype}{tuple(tensor.shape)}".encode()
        yield tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b""
    elif isinstance(value, dict):
        yield f"D{len(value)}".encode()
        for key in sorted(value, key=lambda k: (str(type(k)), k)):
            yield f"K{key!r}".encode()
            yield from _pieces(value[key])
    elif isinstance(value, list | tuple):
        yield f"L{len(value)}".encode()
        for item in value:
            yield from _pieces(item)
    elif isinstance(value, float):
        yield b"F" + struct.pack("<d", value)
    else:
        yield f"V{type(value).__name__}:{value!r}".encode()


def first_difference(a: Any, b: Any, path: str = "") -> str | None:
    """Where two states differ first, as a path and the two values; `None` where every bit is equal."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"{path}: {a.dtype} {tuple(a.shape)} against {b.dtype} {tuple(b.shape)}"
        if digest(a) == digest(b):
            return None
        unequal = (a != b) & ~((a != a) & (b != b))
        where = unequal.reshape(-1).nonzero()
        if len(where) == 0:
            return f"{path}: equal numbers, different bits"
        i = int(where[0])
        return (
            f"{path}: {len(where)} of {a.numel()} numbers, first at {i}: "
            f"{a.reshape(-1)[i].item()!r} against {b.reshape(-1)[i].item()!r}"
        )
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys(), key=str):
            if key not in a or key not in b:
                return f"{path}[{key!r}]: only in the {'second' if key in b else 'first'}"
            found = first_difference(a[key], b[key], f"{path}[{key!r}]")
            if found:
                return found
        return None
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return f"{path}: {len(a)} against {len(b)} items"
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            found = first_difference(x, y, f"{path}[{i}]")
            if found:
                return found
        return None
    return None if digest(a) == digest(b) else f"{path}: {a!r} against {b!r}"
