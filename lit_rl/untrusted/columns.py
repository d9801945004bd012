"""A file of columns: a few arrays with their names, one after the other, as numbers in little-endian order.

    8 bytes   ``litrows1``
    4 bytes   length of the header, little-endian
    header    JSON: ``{"begin": .., "end": .., "columns": [[name, dtype, [shape]], ...]}``, filled up with spaces
    columns   in that order, each from a multiple of 64 bytes on

Nothing in such a file is code, and its header says how long it must be, to the byte.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np

from lit_rl.errors import DataError

_MAGIC = b"litrows1"
_ALIGN = 64
_DTYPES = {
    str(np.dtype(name)): np.dtype(name)
    for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
}
_MOST_HEADER = 1 << 20


def pack_columns(begin: int, end: int, columns: dict[str, np.ndarray]) -> bytes:
    """Arrays as the bytes of such a file."""
    arrays = {name: np.ascontiguousarray(array) for name, array in columns.items()}
    described = [[name, str(array.dtype), list(array.shape)] for name, array in arrays.items()]
    header = json.dumps({"begin": begin, "end": end, "columns": described}).encode()
    start = len(_MAGIC) + 4
    header += b" " * (-(start + len(header)) % _ALIGN)
    pieces = [_MAGIC, struct.pack("<I", len(header)), header]
    for array in arrays.values():
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        pieces += [data, b"\0" * (-len(data) % _ALIGN)]
    return b"".join(pieces)


def unpack_columns(data: Any) -> tuple[int, int, dict[str, np.ndarray]]:
    """Begin, end and arrays of such a file, views of its bytes.

    Args:
        data: its bytes, or what maps them.

    Raises:
        DataError: it is none, or is damaged.
    """
    view = memoryview(data)
    try:
        if bytes(view[:8]) != _MAGIC:
            raise DataError("is no file of columns.")
        (length,) = struct.unpack("<I", view[8:12])
        if length > _MOST_HEADER:
            raise DataError(f"says that its header has {length} bytes.")
        start = 12 + length
        header = json.loads(bytes(view[12:start]))
        begin, end, columns = int(header["begin"]), int(header["end"]), {}
        for name, dtype, shape in header["columns"]:
            if not isinstance(name, str) or any(type(n) is not int or n < 0 for n in shape):
                raise DataError("has a column that is described wrongly.")
            size = math.prod(shape) * _DTYPES[dtype].itemsize
            if start + size > len(view):
                raise DataError(f"ends within its column {name!r}.")
            columns[name] = np.frombuffer(view[start : start + size], _DTYPES[dtype]).reshape(shape)
            start += size + -size % _ALIGN
        if start != len(view):
            raise DataError("is longer than its columns.")
    except (ValueError, KeyError, TypeError, IndexError, struct.error, RecursionError) as error:
        raise DataError(f"is damaged: {type(error).__name__}.") from None
    return begin, end, columns
