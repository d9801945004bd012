"""Files that `torch.save` wrote, checked before they are loaded with `weights_only=True`.

`weights_only` alone still lets a file make a tensor over bytes it does not have, or copy one buffer a
million times. So the pickle inside is first read as records: the names in it must be those of tensors,
every storage must have exactly the bytes it declares, and every tensor must lie inside its storage.
"""

from __future__ import annotations

import contextlib
import io
import math
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from lit_rl.errors import DataError
from lit_rl.untrusted.archive import Archive, Limits
from lit_rl.untrusted.pickles import Global, Made, Parsed, Persistent, parse

_ITEM_BYTES = {
    "torch.DoubleStorage": 8,
    "torch.FloatStorage": 4,
    "torch.HalfStorage": 2,
    "torch.BFloat16Storage": 2,
    "torch.LongStorage": 8,
    "torch.IntStorage": 4,
    "torch.ShortStorage": 2,
    "torch.CharStorage": 1,
    "torch.ByteStorage": 1,
    "torch.BoolStorage": 1,
    "torch.ComplexFloatStorage": 8,
    "torch.ComplexDoubleStorage": 16,
    "torch.storage.UntypedStorage": 1,
}
_TENSOR = "torch._utils._rebuild_tensor_v2"
_TYPED_TENSOR = "torch._utils._rebuild_tensor_v3"  # over bytes, with a dtype of its own
_DTYPE_BYTES = {"torch.uint16": 2, "torch.uint32": 4, "torch.uint64": 8}
_PARAMETER = "torch._utils._rebuild_parameter"
_NUMPY_NUMBERS = frozenset(
    {"numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "_codecs.encode"}
)
_ALLOWED = frozenset(
    {"collections.OrderedDict", _TENSOR, _TYPED_TENSOR, _PARAMETER, *_ITEM_BYTES, *_DTYPE_BYTES, *_NUMPY_NUMBERS}
)
# Nothing is packed, so no member can be larger than the file itself.
_STORED_ONLY = Limits(members=1 << 16, member_bytes=1 << 62, total_bytes=1 << 62, compressed=False)
_LEGACY_MAGIC = b"\x80\x02\x8a\n\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_LEGACY_PICKLES = 5  # magic number, protocol, system info, the object, storage keys; then the raw bytes


@dataclass(frozen=True)
class NumpyValues:
    """A file that holds NumPy numbers among its tensors (some optimizers do): its names are safe, PyTorch
    refuses it.
    """

    names: tuple[str, ...]


def load_tensors(data: bytes, where: str, checksums: bool = False) -> Any:
    """The object in `data` on the CPU, or `NumpyValues` where PyTorch's safe loader would refuse NumPy numbers.

    `checksums`: also check those of the zip, where no digest vouches for the bytes.
    Raises `DataError` naming `where` for anything but tensors, plain containers and plain values.
    """
    if data.startswith(_LEGACY_MAGIC):
        stream = io.BytesIO(data)
        pickles = [parse(stream, _ALLOWED, where, persistent=True) for _ in range(_LEGACY_PICKLES)]
        _check(pickles[3], None, len(data), where)
    else:
        with Archive.from_bytes(data, where, _STORED_ONLY) as inner:
            pickles = _check_members(inner, where)
            for name in inner.names if checksums else ():
                inner.read(name)
    numbers = sorted(set().union(*(p.globals for p in pickles)) & _NUMPY_NUMBERS)
    if numbers:
        return NumpyValues(tuple(numbers))
    try:
        with _warnings_ignored():
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # every kind comes out of torch.load; all mean the same here
        raise DataError(f"{where}: PyTorch cannot load it ({str(error).splitlines()[0][:200]}).") from None


@contextlib.contextmanager
def _warnings_ignored() -> Iterator[None]:
    """PyTorch warns of files that others wrote. Filters are of the whole process: only its main thread changes them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_members(inner: Archive, where: str) -> list[Parsed]:
    root = inner.names[0].split("/")[0]
    if f"{root}/data.pkl" not in inner.names or f"{root}/constants.pkl" in inner.names:
        raise DataError(f"{where}: is not a file of tensors written by torch.save.")
    if any(not name.startswith(f"{root}/") for name in inner.names):
        raise DataError(f"{where}: holds members outside {root!r}.")
    sizes = {name.removeprefix(f"{root}/data/"): inner.size(name) for name in inner.names}
    stream = io.BytesIO(inner.read(f"{root}/data.pkl", limit=1 << 26))
    parsed = parse(stream, _ALLOWED, where, persistent=True)
    if stream.read(1):
        raise DataError(f"{where}: has data behind its pickle.")
    _check(parsed, sizes, sum(sizes.values()), where)
    return [parsed]


def _check(parsed: Parsed, sizes: dict[str, int] | None, total: int, where: str) -> None:
    """Every storage has its bytes (`sizes`, by key; None where PyTorch checks that itself) and holds its
    tensors.
    """
    elements: dict[str, int] = {}  # of each storage, in its own item size
    for reference in parsed.persistent:
        key, kind, count = _storage(reference, where)
        if sizes is not None and sizes.get(key) != count * _ITEM_BYTES[kind]:
            raise DataError(f"{where}: storage {key!r} declares {count} elements of {kind}; its bytes differ.")
        if count * _ITEM_BYTES[kind] > total:
            raise DataError(f"{where}: storage {key!r} declares more bytes than the file has.")
        elements[key] = count
    for made in parsed.made:
        if made.name == _TENSOR:
            _check_tensor(made, elements, where)
        elif made.name == _TYPED_TENSOR:
            _check_tensor(made, elements, where, _item_bytes(made, where))
        elif made.name == _PARAMETER:
            if not (made.args and isinstance(made.args[0], Made) and made.args[0].name == _TENSOR):
                raise DataError(f"{where}: holds a parameter that is not a tensor.")
        elif made.name not in _NUMPY_NUMBERS:
            raise DataError(f"{where}: refused to call {made.name!r}; nothing was run.")


def _storage(reference: Persistent, where: str) -> tuple[str, str, int]:
    """Key, type name and number of elements of a storage reference."""
    match reference.id:
        case ("storage", Global(name=kind), str(key), str(), int(count), *rest) if (
            kind in _ITEM_BYTES and count >= 0 and rest in ([], [None])
        ):
            return key, kind, count
    raise DataError(f"{where}: holds a storage reference that we do not read.")


def _item_bytes(made: Made, where: str) -> int:
    match made.args:
        case (Persistent(id=(_, Global(name="torch.storage.UntypedStorage"), *_)), *_, Global(name=dtype)) if (
            dtype in _DTYPE_BYTES
        ):
            return _DTYPE_BYTES[dtype]
    raise DataError(f"{where}: holds a tensor of a type that we do not read.")


def _check_tensor(made: Made, elements: dict[str, int], where: str, item_bytes: int = 1) -> None:
    match made.args:
        case (Persistent(id=identity), int(offset), tuple(size), tuple(stride), *_) if (
            len(size) == len(stride) and offset >= 0 and all(type(n) is int and n >= 0 for n in (*size, *stride))
        ):
            available = elements[identity[2]] // item_bytes
            count = math.prod(size)
            last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
            if count == 0 or (count <= available and last < available):
                return
    raise DataError(f"{where}: holds a tensor that does not lie inside its storage.")
