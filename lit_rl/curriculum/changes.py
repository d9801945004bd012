"""The difference between two lists of levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lit_rl.curriculum.levels import Level

NOT_SET = "(not set)"


@dataclass(frozen=True)
class LevelDifference:
    """What differs: the level's name, or that and a key of it, and both values in words."""

    key: str
    old: str
    new: str


def differences(old: Sequence[Level], new: Sequence[Level]) -> list[LevelDifference]:
    """Levels matched by name: removed, added, moved and changed. Empty when equal."""
    old_index = {level.name: i for i, level in enumerate(old)}
    new_index = {level.name: i for i, level in enumerate(new)}
    found = [LevelDifference(name, f"level {i}", NOT_SET) for name, i in old_index.items() if name not in new_index]
    for name, i in new_index.items():
        if name not in old_index:
            found.append(LevelDifference(name, NOT_SET, f"level {i}"))
            continue
        if old_index[name] != i:
            found.append(LevelDifference(name, f"level {old_index[name]}", f"level {i}"))
        found += _value_changes(name, old[old_index[name]], new[i])
    return found


def _value_changes(name: str, old: Level, new: Level) -> list[LevelDifference]:
    before, after = _flat(asdict(old)), _flat(asdict(new))
    return [
        LevelDifference(f"{name}.{key}", _show(before, key), _show(after, key))
        for key in [*before, *(key for key in after if key not in before)]
        if (key in before) != (key in after) or before.get(key) != after.get(key)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; None counts as not set."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        elif value is not None or prefix.startswith(("env_kwargs.", "attributes.")):
            flat[f"{prefix}{key}"] = value
    return flat


def _show(flat: Mapping[str, Any], key: str) -> str:
    return repr(flat[key]) if key in flat else NOT_SET
