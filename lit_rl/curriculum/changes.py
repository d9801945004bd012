"""The difference between two lists of levels, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lit_rl.curriculum.levels import Level


def describe_changes(old: Sequence[Level], new: Sequence[Level]) -> list[str]:
    """One line a difference, levels matched by name: removed, added, moved and changed. Empty when equal."""
    old_index = {level.name: i for i, level in enumerate(old)}
    new_index = {level.name: i for i, level in enumerate(new)}
    lines = [f"level {i} '{name}': removed" for name, i in old_index.items() if name not in new_index]
    for name, i in new_index.items():
        if name not in old_index:
            lines.append(f"level {i} '{name}': added")
            continue
        if old_index[name] != i:
            lines.append(f"level {i} '{name}': moved from {old_index[name]}")
        lines += [f"level {i} '{name}': {change}" for change in _value_changes(old[old_index[name]], new[i])]
    return lines


def _value_changes(old: Level, new: Level) -> list[str]:
    before, after = _flat(asdict(old)), _flat(asdict(new))
    return [
        f"{key} {_show(before, key)} -> {_show(after, key)}"
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
    return repr(flat[key]) if key in flat else "(not set)"
