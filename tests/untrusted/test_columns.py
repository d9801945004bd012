"""Files of columns: what comes back, and what is refused before anything is made of it."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from lit_rl.errors import DataError
from lit_rl.untrusted.columns import pack_columns, unpack_columns

COLUMNS = {
    "obs": np.arange(12, dtype=np.float32).reshape(3, 2, 2),
    "image": np.arange(6, dtype=np.uint8).reshape(3, 2, 1),
    "done": np.array([[True], [False], [True]]),
    "empty": np.zeros((0, 4)),
}


def test_what_was_packed_comes_back() -> None:
    begin, end, found = unpack_columns(pack_columns(5, 8, COLUMNS))
    assert (begin, end) == (5, 8)
    assert list(found) == list(COLUMNS)
    for name, array in COLUMNS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_columns_that_are_not_in_order_in_memory() -> None:
    array = np.arange(24.0).reshape(4, 6)[::2, ::3]
    np.testing.assert_array_equal(unpack_columns(pack_columns(0, 2, {"a": array}))[2]["a"], array)


def with_header(change: Any) -> bytes:
    data = pack_columns(5, 8, COLUMNS)
    (length,) = struct.unpack("<I", data[8:12])
    header = change(json.loads(data[12 : 12 + length]))
    text = (header if isinstance(header, bytes) else json.dumps(header).encode()).ljust(length)
    return data[:8] + struct.pack("<I", len(text)) + text + data[12 + length :]


def first(shape: Any, dtype: str = "float32") -> Any:
    return lambda header: {**header, "columns": [["obs", dtype, shape], *header["columns"][1:]]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"litrows1",
        b"litrows2" + pack_columns(0, 1, {})[8:],
        pack_columns(5, 8, COLUMNS)[:-1],
        pack_columns(5, 8, COLUMNS) + b"x",
        b"litrows1" + struct.pack("<I", 1 << 31),
        with_header(lambda _: b"[" * 50),
        with_header(lambda _: []),
        with_header(lambda header: {**header, "begin": "x"}),
        with_header(first([1 << 40, 1 << 40])),
        with_header(first([-3, 2, 2])),
        with_header(first([3.0, 2, 2])),
        with_header(first([True, 2, 2])),
        with_header(first([3, 2, 2], "object")),
        with_header(first([3, 2, 2], "U8")),
    ],
)
def test_what_is_refused(data: bytes) -> None:
    with pytest.raises(DataError):
        unpack_columns(data)


def test_any_byte_of_a_header_may_be_wrong() -> None:
    data = pack_columns(5, 8, COLUMNS)
    (length,) = struct.unpack("<I", data[8:12])
    for i in range(12 + length):
        damaged = bytearray(data)
        damaged[i] ^= 0x55
        try:
            unpack_columns(bytes(damaged))
        except DataError:
            continue
