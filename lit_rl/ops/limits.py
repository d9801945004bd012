"""What a setting may be: its type, its range, its choices. A mistake is one line with the key and the fix.

A record names the ranges of its fields in its `LIMITS`, as an algorithm does those of its settings; types and choices
stand in the annotations.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from lit_rl.errors import ConfigError, did_you_mean

_FLOAT32 = float(np.finfo(np.float32).max)
_LARGEST = 2**53
"""Whole numbers beyond this one are not exact in logs."""


R = TypeVar("R")


@dataclass(frozen=True)
class Limit:
    """A range of numbers. NaN lies in none.

    Args:
        low: the smallest number in it.
        high: the largest.
        without_low: `low` itself lies outside.
        infinite: infinity means something here: no bound.
        besides: single numbers that are meant too.
    """

    low: float = -math.inf
    high: float = math.inf
    without_low: bool = False
    infinite: bool = False
    besides: tuple[float, ...] = ()

    def holds(self, value: float, *, closed: bool = False) -> bool:
        """Whether a number lies in the range; with `closed`, also at its lower end."""
        if value in self.besides:
            return True
        if isinstance(value, float) and not math.isfinite(value):
            return value == math.inf and self.infinite
        above = value > self.low if self.without_low and not closed else value >= self.low
        return above and value <= self.high

    def __str__(self) -> str:
        if self.besides:
            others = ", ".join(f"{value:g}" for value in self.besides)
            return f"{others} or {dataclasses.replace(self, besides=())}"
        if self.high < math.inf and self.without_low:
            return f"above {_shown(self.low)} and at most {_shown(self.high)}"
        if self.high < math.inf:
            return f"from {_shown(self.low)} to {_shown(self.high)}"
        if self.low > -math.inf:
            return f"{'above' if self.without_low else 'at least'} {self.low:g}"
        return "a finite number"


FINITE = Limit()
SEEDS = Limit(0, 2**32 - 1)
"""Seeds that every library takes."""


def at_least(low: float, *, infinite: bool = False, besides: tuple[float, ...] = ()) -> Limit:
    """`low` and everything above it."""
    return Limit(low, infinite=infinite, besides=besides)


def above(low: float, *, infinite: bool = False) -> Limit:
    """Everything above `low`."""
    return Limit(low, without_low=True, infinite=infinite)


def between(low: float, high: float) -> Limit:
    """From `low` to `high`, both included."""
    return Limit(low, high)


def check_value(value: Any, hint: Any, key: str, limit: Limit | None = None) -> None:
    """Check one setting.

    Args:
        value: as it was given.
        hint: its type. What is no plain type (a class, a callable) is not looked at.
        key: the setting's full name.
        limit: its range, if it is a number, or that of each number of a list.

    Raises:
        ConfigError: names the key, what is wrong and the fix.
    """
    options = union_members(hint)
    if not any(_fits(value, option) for option in options):
        raise ConfigError(f"{key}: {_wrong(value, options)}")
    if any(_fits(value, option) for option in options if option in (int, float)):
        check_number(value, key, limit, ", or null" if type(None) in options else "")
    for option in options:
        if isinstance(value, list | tuple) and typing.get_origin(option) is list:
            for i, item in enumerate(value):
                check_value(item, typing.get_args(option)[0], f"{key}[{i}]", limit)


def check_number(
    value: Any, key: str, limit: Limit | None = None, otherwise: str = "", *, closed: bool = False
) -> None:
    """Check the range of a number; `otherwise` says what else could be written, `closed` admits the lower end."""
    limit = limit or FINITE
    if not limit.holds(value, closed=closed):
        raise ConfigError(f"{key} is {shown(value)}; it must be {limit}{otherwise}.")
    if isinstance(value, numbers.Integral) and abs(int(value)) > _LARGEST:
        raise ConfigError(f"{key} is {shown(value)}; it must be below {_LARGEST:,}.")
    if _FLOAT32 < abs(value) < math.inf:
        raise ConfigError(f"{key} is {shown(value)}; no float32 is as large.")


def check_record(record: Any, key: str) -> None:
    """Check every field of a dataclass by its annotation and the class's `LIMITS`; `key` is the block's name.

    Raises:
        ConfigError: names the first field that is wrong.
    """
    limits: Mapping[str, Limit] = getattr(type(record), "LIMITS", {})
    hints = typing.get_type_hints(type(record))
    for field in dataclasses.fields(record):
        name = f"{key}.{field.name}" if key else field.name
        check_value(getattr(record, field.name), hints[field.name], name, limits.get(field.name))


def check_names(values: Mapping[Any, Any], key: str) -> None:
    """Refuse keyword arguments whose name is no text."""
    for name in values:
        if not isinstance(name, str):
            raise ConfigError(f"{key}: key {shown(name)} is no name of an argument; keys here are text.")


def known_only(values: Mapping[str, Any], record: type[Any], key: str) -> dict[str, Any]:
    """`values` as a dictionary, once every key is a field of `record`; `key` is the block's name.

    Raises:
        ConfigError: names the first that is not, and the nearest field.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{key}: expected keys and values, got {shown(values)}.")
    refuse_unknown(values, [field.name for field in dataclasses.fields(record)], key)
    return dict(values)


def switched(value: Any, record: type[R], key: str) -> R | None:
    """What is off, on with its defaults, or on with its own settings: `false`, `true`, or keys and values.

    Raises:
        ConfigError: names the setting that is wrong.
    """
    if value is None or value is False:
        return None
    if isinstance(value, record):
        return value
    return record() if value is True else record(**known_only(value, record, key))


def refuse_unknown(names: Iterable[Any], known: Collection[str], key: str) -> None:
    """Refuse a name that is none of `known`, and say which is the nearest; `key` is the block's name."""
    for name in names:
        if name not in known:
            raise ConfigError(f"{key}: unknown key '{name}'.{did_you_mean(name, known)}")


def hints_of(function: Any) -> dict[str, Any]:
    """The types of a function's arguments; none where they cannot be read."""
    try:
        return typing.get_type_hints(function)
    except Exception:  # whatever annotations somebody has written
        return {}


def shown(value: Any) -> str:
    """A value as a configuration file has it, cut where it is long."""
    if value is None:
        return "null"
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, type):
        return value.__name__
    text = repr(value.item() if isinstance(value, np.generic) else value).replace("\n", " ")
    return text if len(text) <= 60 else f"{text[:60]}..."


def called(name: str, kwargs: Mapping[str, Any]) -> str:
    """A call as Python writes it."""
    return f"{name}({', '.join(f'{key}={shown(value)}' for key, value in kwargs.items())})"


def _shown(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else f"{number:g}"


def union_members(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the hint alone."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return tuple(option for each in typing.get_args(hint) for option in union_members(each))
    return (hint,)


def _fits(value: Any, option: Any) -> bool:
    origin = typing.get_origin(option) or option
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in typing.get_args(option))
    if origin is type(None):
        return value is None
    if origin is bool:
        return isinstance(value, bool | np.bool_)
    if origin is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if origin is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool)
    if origin is dict:
        return isinstance(value, Mapping)
    if origin is list:
        return isinstance(value, list | tuple)
    return isinstance(value, str) if origin is str else True


TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", dict: "keys and values"}


def _wrong(value: Any, options: Iterable[Any]) -> str:
    """What is expected in place of a value, and what was probably meant."""
    choices = [str(c) for option in options if typing.get_origin(option) is Literal for c in typing.get_args(option)]
    origins = [typing.get_origin(option) or option for option in options]
    kinds = [TYPE_NAMES.get(origin, "a list") for origin in origins if origin in TYPE_NAMES or origin is list]
    null = ", or null" if type(None) in origins else ""
    if choices and not kinds and isinstance(value, str):
        return f"{shown(value)} is not one of {', '.join(choices)}{null}.{did_you_mean(value, choices)}"
    return f"expected {' or '.join([*kinds, *choices])}{null}, got {shown(value)}.{_meant(value, origins)}"


def _meant(value: Any, origins: list[Any]) -> str:
    if int in origins and isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST:
        return f" Write {int(value)}."
    if (
        isinstance(value, str)
        and {int, float, bool}.intersection(origins)
        and (reads_as_number(value) or value.lower() in ("true", "false"))
    ):
        return " Write it without quotes."
    if str in origins and isinstance(value, bool | int | float):
        return " Put it in quotes."
    return ""


def reads_as_number(text: str) -> bool:
    """Whether a text would be a number without its quotes."""
    try:
        float(text)
    except ValueError:
        return False
    return True
