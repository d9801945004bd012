"""A number for each level, as it stands in a file: by name, or in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.ops.limits import Limit, check_value, shown


def check_per_level(values: Any, key: str, limit: Limit) -> None:
    """Check that `values` is a mapping or a list of numbers within `limit`; names are checked by `per_level`."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            check_value(value, float, f"{key}.{name}", limit)
    elif isinstance(values, list | tuple):
        for i, value in enumerate(values):
            check_value(value, float, f"{key}[{i}]", limit)
    else:
        raise ConfigError(f"{key}: must be a mapping from level to number, or a list, is {shown(values)}.")


def per_level(values: Mapping[str, float] | Sequence[float], names: Sequence[str], key: str) -> list[float]:
    """The numbers in the order of the levels.

    Raises:
        ConfigError: a level has none, or a name is no level's; names it.
    """
    if not isinstance(values, Mapping):
        if len(values) != len(names):
            raise ConfigError(
                f"{key}: has {len(values)} numbers, and there are {len(names)} levels; give one for each."
            )
        return [float(value) for value in values]
    values = {str(name): value for name, value in values.items()}  # levels by number are named by it
    for name in values:
        if name not in names:
            raise ConfigError(f"{key}: no level is called '{name}'.{did_you_mean(name, names)}")
    for name in names:
        if name not in values:
            raise ConfigError(f"{key}.{name}: missing; give every level a number.")
    return [float(values[name]) for name in names]
