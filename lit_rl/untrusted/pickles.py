"""Pickles read as inert records: nothing is imported, nothing is called, nothing is looked up.

`pickletools.genops` splits the stream into opcodes, and a small stack machine of our own interprets the few
that stable-baselines3, NumPy and PyTorch write. Where `pickle` would import a name, it makes a `Global`;
where `pickle` would call one, it makes a `Made`. A name or an opcode that is not on the list is an error
that names it.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from mmap import mmap
from typing import Any

from lit_rl.errors import DataError

MAX_OPCODES = 2_000_000
_CONSTANTS = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
}
_VALUES = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()
_LONG_BYTES = {"BINBYTES": 4, "BINBYTES8": 8, "BYTEARRAY8": 8}
"""Opcodes of bytes, and how many bytes say how many there are."""
_BY_CODE = {opcode.code: opcode for opcode in pickletools.opcodes}


@dataclass(frozen=True, eq=False)
class Global:
    """A dotted name that the pickle would have imported."""

    name: str


@dataclass(eq=False)
class Made:
    """What the pickle would have made by calling `name(*args)` and then setting `state`."""

    name: str
    args: tuple[Any, ...]
    state: Any = None


@dataclass(frozen=True, eq=False)
class Persistent:
    """A reference out of the pickle (PyTorch: a storage)."""

    id: Any


@dataclass
class Parsed:
    """One pickle: its value, and every record in it in the order they were made."""

    value: Any = None
    made: list[Made] = field(default_factory=list)
    globals: set[str] = field(default_factory=set)
    persistent: list[Persistent] = field(default_factory=list)


def parse(
    stream: BytesIO | mmap, allowed: frozenset[str], where: str, persistent: bool = False, most: int = MAX_OPCODES
) -> Parsed:
    """Read one pickle from `stream`, which is left behind its last byte.

    `allowed` are the dotted names it may hold; `persistent` says whether it may refer out of itself
    (PyTorch); `most` is how many opcodes it may have. Of a file that is mapped, long bytes are views, which take no
    memory. Raises `DataError` naming `where` and the first thing refused.
    """
    machine = _Machine(allowed, where, persistent)
    opcodes = _of_mapped(stream) if isinstance(stream, mmap) else pickletools.genops(stream)
    try:
        for count, (opcode, argument, position) in enumerate(opcodes):
            if count > most:
                raise DataError(f"{where}: has more than {most} pickle opcodes.")
            machine.step(opcode.name, argument, position)
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{where}: is not a pickle we can read ({' '.join(str(error).split())[:200]}).") from None
    return machine.parsed


def _of_mapped(stream: mmap) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int]]:
    """What `pickletools.genops` gives of a file, with views of it in place of long bytes."""
    view = memoryview(stream)
    while True:
        position = stream.tell()
        opcode = _BY_CODE.get(stream.read(1).decode("latin-1"))
        if opcode is None:
            raise ValueError(f"there is no opcode at byte {position}" if position < len(view) else "it ends too early")
        argument: Any = None
        if opcode.name in _LONG_BYTES:
            size = int.from_bytes(stream.read(_LONG_BYTES[opcode.name]), "little")
            start = stream.tell()
            if size > len(view) - start:
                raise ValueError(f"it ends within the {size} bytes at {start}")
            argument = view[start : start + size]
            stream.seek(start + size)
        elif opcode.arg is not None:
            argument = opcode.arg.reader(stream)  # type: ignore[arg-type]
        yield opcode, argument, position
        if opcode.name == "STOP":
            return


class _Machine:
    def __init__(self, allowed: frozenset[str], where: str, persistent: bool) -> None:
        self.parsed = Parsed()
        self._allowed = allowed
        self._where = where
        self._persistent = persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any, position: int | None) -> None:
        stack = self._stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(self._top(_TUPLES[name]))]
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(self._to_mark()))
        elif name in ("SETITEM", "SETITEMS"):
            self._set_items(self._pop(2) if name == "SETITEM" else self._to_mark())
        elif name in ("APPEND", "APPENDS"):
            items = self._pop(1) if name == "APPEND" else self._to_mark()
            _expect(stack[-1], list).extend(items)
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._top(1)[0]
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._top(1)[0]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "GLOBAL":
            stack.append(self._global(".".join(argument.split(" ")), position))
        elif name == "STACK_GLOBAL":
            module, attribute = self._pop(2)
            stack.append(self._global(f"{_expect(module, str)}.{_expect(attribute, str)}", position))
        elif name in ("REDUCE", "NEWOBJ"):
            target, arguments = self._pop(2)
            stack.append(self._make(_expect(target, Global).name, _expect(arguments, tuple)))
        elif name == "BUILD":
            state = self._pop(1)[0]
            target = self._top(1)[0]
            if not isinstance(target, dict):  # an OrderedDict's attributes are of no use to us
                _expect(target, Made).state = state
        elif name == "BINPERSID" and self._persistent:
            stack[-1] = Persistent(self._top(1)[0])
            self.parsed.persistent.append(stack[-1])
        elif name == "STOP":
            (self.parsed.value,) = self._pop(1)
            if stack:
                raise ValueError("values are left over")
        elif name not in ("PROTO", "FRAME"):
            raise DataError(f"{self._where}: refused pickle opcode {name} at byte {position}; nothing was run.")

    def _global(self, name: str, position: int | None) -> Global:
        if name not in self._allowed:
            raise DataError(f"{self._where}: refused to import {name[:120]!r} at byte {position}; nothing was run.")
        self.parsed.globals.add(name)
        return Global(name)

    def _make(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "collections.OrderedDict" and not arguments:
            return {}
        if name == "collections.deque" and (not arguments or arguments[0] in ((), [])):
            return []
        made = Made(name, arguments)
        self.parsed.made.append(made)
        return made

    def _set_items(self, items: list[Any]) -> None:
        target = _expect(self._stack[-1], dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):
                raise TypeError(f"a dictionary key of type {type(key).__name__}")
            target[key] = value

    def _top(self, count: int) -> list[Any]:
        values = self._stack[-count:]
        if len(values) < count or any(value is _MARK for value in values):
            raise IndexError("the stack is too short")
        return values

    def _pop(self, count: int) -> list[Any]:
        values = self._top(count)
        del self._stack[-count:]
        return values

    def _to_mark(self) -> list[Any]:
        for start in range(len(self._stack) - 1, -1, -1):
            if self._stack[start] is _MARK:
                values = self._stack[start + 1 :]
                del self._stack[start:]
                return values
        raise IndexError("a mark is missing")


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__} where {kind.__name__} is expected")
    return value
