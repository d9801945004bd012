"""The levels as episodes are played on them: with what all of them share, and of several dimensions merged into one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from lit_rl.curriculum.assignment import made_values, parameters
from lit_rl.curriculum.checks import check_levels, check_places, check_same_settings
from lit_rl.curriculum.config import CurriculumConfig, DimensionConfig
from lit_rl.curriculum.levels import Level, Played
from lit_rl.curriculum.shown import Shown
from lit_rl.curriculum.values import OverLevels, check_spelling, is_made, read_value
from lit_rl.errors import ConfigError
from lit_rl.ops.limits import check_names

L = TypeVar("L", bound=Level)
MOST = 10_000
"""Levels of all dimensions together."""
JOINED = "+"


def own_levels(config: DimensionConfig, key: str) -> list[Level]:
    """The levels of one dimension, with what all of them share in each.

    Args:
        config: its block.
        key: what error messages call it, such as `curriculum`.

    Raises:
        ConfigError: at the first mistake.
    """
    if config.levels and config.n_levels is not None:
        raise ConfigError(f"{key}.n_levels: given together with levels; give one of both.")
    levels = config.levels or [Level(str(i)) for i in range(config.n_levels or 1)]
    if not config.levels and config.n_levels is None:
        levels = [Level("all")]
    check_levels(levels, f"{key}.levels")
    check_names(config.env_kwargs, f"{key}.env_kwargs")
    check_names(config.attributes, f"{key}.attributes")
    shared = Level("all", config.env_kwargs, config.attributes, config.set_level)
    _constant(shared, 0, len(levels), key)  # a mistake in it is named where it stands
    filled = [
        replace(
            level,
            env_kwargs={**config.env_kwargs, **level.env_kwargs},
            attributes={**config.attributes, **level.attributes},
            set_level=config.set_level if level.set_level is None else level.set_level,
        )
        for level in levels
    ]
    check_same_settings(filled, f"{key}.levels")
    check_places(filled, f"{key}.levels")
    return [_constant(level, i, len(filled), f"{key}.levels[{i}]") for i, level in enumerate(filled)]


def _constant(level: L, index: int, n_levels: int, key: str) -> L:
    """A level with the values of ramps over levels; every other mapping that makes a value is looked at too."""

    def fixed(value: Any, at: str) -> Any:
        check_spelling(value, at)
        if not is_made(value):
            return value
        made = read_value(value, at)
        if not isinstance(made, OverLevels):
            return value
        if n_levels == 1:
            raise ConfigError(f"{at}.over: there is one level only here; give several, or a number of timesteps.")
        return made.on(index, n_levels)

    def block(values: Mapping[str, Any], at: str) -> dict[str, Any]:
        return {name: fixed(value, f"{key}.{at}.{name}") for name, value in values.items()}

    return replace(
        level,
        env_kwargs=block(level.env_kwargs, "env_kwargs"),
        attributes=block(level.attributes, "attributes"),
        set_level=fixed(level.set_level, f"{key}.set_level"),
    )


def merged(dimensions: Mapping[str, Sequence[Level]], config: CurriculumConfig) -> list[Played]:
    """The levels of all dimensions together, the last dimension's fastest.

    Raises:
        ConfigError: two dimensions set the same value, or there are too many levels.
    """
    sizes = tuple(len(levels) for levels in dimensions.values())
    if math.prod(sizes) > MOST:
        raise ConfigError(
            f"curriculum.dimensions: make {math.prod(sizes):,} levels together; at most {MOST:,} are allowed."
        )
    _check_apart(dimensions, config)
    beside = config if config.dimensions else CurriculumConfig()
    check_names(beside.env_kwargs, "curriculum.env_kwargs")
    check_names(beside.attributes, "curriculum.attributes")
    levels = [
        Played(
            JOINED.join(level.name for level in each),
            env_kwargs=_all([beside.env_kwargs, *(level.env_kwargs for level in each)]),
            attributes=_all([beside.attributes, *(level.attributes for level in each)]),
            set_level=next((level.set_level for level in each if level.set_level is not None), None),
            promote=each[0].promote if len(each) == 1 else None,
            demote=each[0].demote if len(each) == 1 else None,
            mix=each[0].mix if len(each) == 1 else Level("").mix,
        )
        for each in itertools.product(*dimensions.values())
    ]
    names = [level.name for level in levels]
    twice = next((name for name in names if names.count(name) > 1), None) if len(dimensions) > 1 else None
    if twice is not None:
        raise ConfigError(
            f"curriculum.dimensions: '{twice}' names two levels together; leave + out of names of levels."
        )
    if config.dimensions:
        levels = [_constant(level, 0, 1, "curriculum") for level in levels]
    if config.visible:
        names = list(dict.fromkeys(name for level in levels for name in made_values(level)))
        shown = Shown(sizes, tuple(names))
        if not len(shown):
            raise ConfigError("curriculum.visible: is true, and there is one level with nothing drawn; remove it.")
        for i, level in enumerate(levels):
            for name in names:
                if name not in parameters(level):
                    raise ConfigError(
                        f"curriculum.visible: level {i} '{level.name}' does not give '{name}', and another draws it; "
                        "give it in every level."
                    )
        levels = [replace(level, shown=shown) for level in levels]
    return levels


def _all(blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for block in blocks for name, value in block.items()}


def _check_apart(dimensions: Mapping[str, Sequence[Level]], config: CurriculumConfig) -> None:
    """Refuse two dimensions that set the same value."""
    owners: dict[str, str] = {}
    if config.dimensions:
        owners = dict.fromkeys([*config.env_kwargs, *config.attributes], "the curriculum")
    for dimension, levels in dimensions.items():
        for name in dict.fromkeys(name for level in levels for name in parameters(level)):
            if name in owners:
                raise ConfigError(
                    f"curriculum.dimensions.{dimension}: sets '{name}', and so does {owners[name]}; keep one."
                )
            owners[name] = f"dimension {dimension}"
