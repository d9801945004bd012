"""The levels of a curriculum as they stand in a run's YAML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from lit_rl.curriculum.shown import Shown
from lit_rl.errors import ConfigError, did_you_mean

# The mappings below are bare `dict`: with `dict[str, Any]` jsonargparse reads the quoted string "3" as the
# number 3 and writes the string "null" back as null, so that a saved config no longer says what the run used.


@dataclass(frozen=True)
class Mix:
    """A share of the environments that stays on earlier levels, so that these are not forgotten.

    Args:
        share: fraction of the environments, 0 <= share < 1, rounded down to whole environments. They are chosen by
            environment index alone, evenly over the indices.
        spread: `even` takes those environments through all earlier levels, one an episode; `previous` keeps them on
            the level just before the current one.
    """

    share: float = 0.0
    spread: Literal["even", "previous"] = "even"


@dataclass(frozen=True)
class Level:
    """One level: what it changes in the environment, and when to leave it.

    In the place of a value may stand what makes one for each episode, such as `{uniform: [0, 1]}` (`values`).

    Args:
        name: unique among the levels.
        env_kwargs: keyword arguments of the environment's constructor, over those of `env`.
        attributes: attributes set on the unwrapped environment before the reset.
        set_level: the value given to the environment's own `set_level(value)` before the reset; null: no call.
        promote: rule for moving to the next level: `{metric, threshold, ...}` for a built-in rule, `{all: [...]}` or
            `{any: [...]}` of several, or `{class_path, init_args}` for one of your own.
        demote: rule for moving to the level before, in the same form.
        mix: share of the environments that stays on earlier levels while this one is current.
    """

    name: str
    env_kwargs: dict = field(default_factory=dict)  # type: ignore[type-arg]
    attributes: dict = field(default_factory=dict)  # type: ignore[type-arg]
    set_level: Any = None
    promote: dict | None = None  # type: ignore[type-arg]
    demote: dict | None = None  # type: ignore[type-arg]
    mix: Mix = field(default_factory=Mix)


@dataclass(frozen=True)
class Played(Level):
    """A level as episodes are played on it: with what all levels share and, of several dimensions, a level of each.

    Args:
        shown: what of it stands in the observation; `None` for nothing.
    """

    shown: Shown | None = None


def shown_of(levels: Sequence[Level]) -> Shown | None:
    """What of a task stands in the observation, which is the same on all levels."""
    return levels[0].shown if levels and isinstance(levels[0], Played) else None


def read_levels(levels: Sequence[Level | Mapping[str, Any]], key: str = "curriculum.levels") -> list[Level]:
    """Levels from plain mappings or from `Level`s; `key` is what error messages call the list."""
    return [level if isinstance(level, Level) else _read_level(level, f"{key}[{i}]") for i, level in enumerate(levels)]


def _read_level(values: Mapping[str, Any], key: str) -> Level:
    values = _known(values, Level, key)
    if "name" not in values:
        raise ConfigError(f"{key}.name: missing; give each level a name of its own.")
    mix = values.get("mix", Mix())
    if not isinstance(mix, Mix):
        mix = Mix(**_known(mix, Mix, f"{key}.mix"))
    return Level(**{**values, "mix": mix})


def _known(values: Mapping[str, Any], record: type[Any], key: str) -> dict[str, Any]:
    """`values` as a dictionary, when every key is a field of the dataclass `record`.

    Raises:
        ConfigError: one is not; names it.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{key}: must be a mapping, is {values!r}; write it as `key: value` lines.")
    names = [f.name for f in fields(record)]
    for name in values:
        if name not in names:
            raise ConfigError(f"{key}.{name}: unknown; known are {', '.join(names)}.{did_you_mean(name, names)}")
    return dict(values)
