"""Mistakes in a list of levels, found before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args, get_type_hints

from lit_rl.curriculum.levels import Level, Mix
from lit_rl.curriculum.values import is_made
from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.ops.limits import check_names, check_record

SPREADS = get_args(get_type_hints(Mix)["spread"])


def check_levels(levels: Sequence[Level], key: str = "curriculum.levels") -> None:
    """Raise ConfigError at the first mistake in what levels set; `key` is what messages call the list."""
    _check_names(levels, key)
    for i, level in enumerate(levels):
        at = f"{key}[{i}]"
        check_record(level, at)
        check_names(level.env_kwargs, f"{at}.env_kwargs")
        check_names(level.attributes, f"{at}.attributes")


def check_rules(levels: Sequence[Level], key: str = "curriculum.levels") -> None:
    """Raise ConfigError where levels that are played one after the other lack a rule, or have one too many."""
    for i, level in enumerate(levels):
        at = f"{key}[{i}]"
        is_first, is_last = i == 0, i == len(levels) - 1
        if is_last and level.promote is not None:
            raise ConfigError(f"{at}.promote: the last level has no next one; remove the rule.")
        if not is_last and level.promote is None:
            raise ConfigError(f"{at}.promote: missing, so level '{level.name}' would never be left; give a rule.")
        if is_first and level.demote is not None:
            raise ConfigError(f"{at}.demote: the first level has none before it; remove the rule.")
        _check_mix(level.mix, is_first, f"{at}.mix")


def check_no_rules(levels: Sequence[Level], chosen_by: str, key: str) -> None:
    """Raise ConfigError where a level has rules that nothing looks at; `chosen_by` is the key that chooses levels."""
    for i, level in enumerate(levels):
        for name in ("promote", "demote", "mix"):
            if getattr(level, name) not in (None, Mix()):
                raise ConfigError(
                    f"{key}[{i}].{name}: levels are chosen by {chosen_by}, which has no use for it; remove it."
                )


def _check_names(levels: Sequence[Level], key: str) -> None:
    seen: dict[str, int] = {}
    for i, level in enumerate(levels):
        if not isinstance(level.name, str) or not level.name:
            raise ConfigError(f"{key}[{i}].name: must be a word, is {level.name!r}; put it in quotes.")
        if level.name in seen:
            raise ConfigError(
                f"{key}[{i}].name: '{level.name}' is level {seen[level.name]}'s name too; choose another."
            )
        seen[level.name] = i


def _check_mix(mix: Mix, is_first: bool, key: str) -> None:
    if isinstance(mix.share, bool) or not isinstance(mix.share, int | float) or not 0.0 <= mix.share < 1.0:
        raise ConfigError(f"{key}.share: must be at least 0 and less than 1, is {mix.share!r}.")
    if is_first and mix.share > 0.0:
        raise ConfigError(f"{key}.share: the first level has no earlier ones to stay on; remove it.")
    if mix.spread not in SPREADS:
        raise ConfigError(
            f"{key}.spread: unknown {mix.spread!r}; known are {', '.join(SPREADS)}.{did_you_mean(mix.spread, SPREADS)}"
        )


def check_same_settings(levels: Sequence[Level], key: str) -> None:
    """Every level sets the same attributes, and all or none use `set_level`.

    Otherwise what a level means would depend on the levels an environment was on before, and an environment
    made anew on resume would differ from one that lived through them.
    """
    attributes = {name: i for i, level in enumerate(levels) for name in level.attributes}
    uses_set_level = [i for i, level in enumerate(levels) if level.set_level is not None]
    for i, level in enumerate(levels):
        for name, other in attributes.items():
            if name not in level.attributes:
                raise ConfigError(
                    f"{key}[{i}].attributes.{name}: missing, and level {other} sets it, so it would keep the "
                    f"value of whichever level came before; give it in every level."
                    f"{did_you_mean(name, level.attributes)}"
                )
        if uses_set_level and level.set_level is None:
            raise ConfigError(f"{key}[{i}].set_level: level {uses_set_level[0]} has it, this one not; give it in all.")


def check_places(levels: Sequence[Level], key: str) -> None:
    """Raise ConfigError where a parameter that is made for each episode stands in two places under one name."""
    for i, level in enumerate(levels):
        places = {"env_kwargs": level.env_kwargs, "attributes": level.attributes, "": {"set_level": level.set_level}}
        made = {name for block in places.values() for name, value in block.items() if is_made(value)}
        for name in sorted(made):
            if sum(name in block for block in places.values() if block != {"set_level": None}) > 1:
                raise ConfigError(f"{key}[{i}]: '{name}' is made for each episode and stands in two places; keep one.")
