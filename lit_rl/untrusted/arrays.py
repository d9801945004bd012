"""NumPy's arrays and numbers in pickles that were read as records (see `pickles`): views of the bytes they stand in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lit_rl.untrusted.pickles import Global, Made

_RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_SCALAR = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_FROM_BUFFER = ("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")
_DTYPES = frozenset({"b1", "f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})
ARRAYS = frozenset({"numpy.dtype", "numpy.ndarray", *_RECONSTRUCT, *_SCALAR, *_FROM_BUFFER})
"""The names in a pickle of arrays and numbers."""


def array_of(value: Any, name: str) -> np.ndarray:
    """A Python number, a NumPy number or an array of plain numbers, from its record; a view, and not to be written to.

    Args:
        value: as `pickles.parse` gives it.
        name: what it is, for errors.

    Raises:
        TypeError: it is none.
        ValueError: it has not the bytes of its shape.
    """
    if type(value) in (int, float):
        return np.asarray(value)
    match value:
        case Made(
            name=kind,
            args=(Global(name="numpy.ndarray"), *_),
            state=(_, tuple(shape), dtype, order, bytes() | memoryview() as raw),
        ):
            known, fortran = kind in _RECONSTRUCT, bool(order)
        case Made(name=kind, args=(dtype, bytes() | memoryview() as raw)):
            known, fortran, shape = kind in _SCALAR, False, ()
        case Made(name=kind, args=(bytes() | bytearray() | memoryview() as raw, dtype, tuple(shape), str(letter))):
            known, fortran = kind in _FROM_BUFFER, letter == "F"
        case _:
            known = False
    if not known:
        raise TypeError(f"{name} is not a number or an array of numbers")
    element = _dtype(dtype, name)
    if any(type(n) is not int or n < 0 for n in shape) or math.prod(shape) * element.itemsize != len(raw):
        raise ValueError(f"{name} has {len(raw)} bytes, not those of its shape {shape}")
    return np.frombuffer(raw, dtype=element).reshape(shape, order="F" if fortran else "C")


def _dtype(value: Any, name: str) -> np.dtype[Any]:
    match value:
        case Made(name="numpy.dtype", args=(str(code), *_), state=(_, str(order), *_)) if code in _DTYPES and order in (
            "<",
            ">",
            "|",
            "=",
        ):
            return np.dtype(order + code)
    raise TypeError(f"{name} is not of a plain number type")
