"""What differs between the settings of a run and those it is asked to go on with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from lit_rl.curriculum import differences, read_levels

EVALUATION = "evaluation."
"""Keys that may change freely, unless a rule of the curriculum waits for evaluations."""
CURRICULUM, LEVELS = "curriculum.", ".levels"


@dataclass(frozen=True)
class Change:
    """One setting that differs."""

    key: str
    old: Any
    new: Any

    def free(self, may: Collection[str], evaluation_counts: bool) -> bool:
        """Whether it changes nothing that is learned: it is one of those that `may` change, or of evaluation."""
        if self.key == "env.backend" and "native" in (self.old, self.new):
            return False  # its environments are others, and episodes in flight do not go from one to the other
        return self.key in may or (self.key.startswith(EVALUATION) and not evaluation_counts)

    def within(self, keys: Collection[str]) -> bool:
        """Whether it is one of the settings `keys`, or below one."""
        return any(self.key == key or self.key.startswith(f"{key}.") for key in keys)

    @property
    def shown(self) -> str:
        """Its key as it stands in a run's YAML."""
        return _shown(self.key)

    def __str__(self) -> str:
        return f"{self.shown}: {self.old} -> {self.new}"


class _Named(Change):
    """A difference of something else than a setting of the model."""

    @property
    def shown(self) -> str:
        return self.key


def _shown(key: str) -> str:
    key = f"eval.{key.removeprefix('evaluation.')}" if key.startswith("evaluation.") else key
    return (
        key
        if key == "total_timesteps" or key.startswith(("env.", "curriculum.", "eval."))
        else "seed_everything"
        if key == "seed"
        else f"model.{key}"
    )


def changes(old: dict[str, Any], new: dict[str, Any], defaults: dict[str, Any] | None = None) -> list[Change]:
    """Every setting that differs, in the order of the new ones.

    Args:
        old: settings of the run.
        new: settings it is asked to go on with.
        defaults: what a setting was that is younger than the run.
    """
    before, after = _flat(_filled(old, defaults or {})), _flat(_filled(new, defaults or {}))
    keys = [*after, *(key for key in before if key not in after)]
    found = [Change(key, before.get(key), after.get(key)) for key in keys if not _same(before.get(key), after.get(key))]
    return [each for change in found for each in (_levels(change) if _is_levels(change) else [change])]


def differences_of(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Whatever differs between two dictionaries of the same keys, whose names are shown as they are."""
    before, after = _flat(old), _flat(new)
    return [
        _Named(key, before.get(key), after.get(key))
        for key in before | after
        if not _same(before.get(key), after.get(key))
    ]


def _same(old: Any, new: Any) -> bool:
    """Whether two settings mean the same: 1 and 1.0 do, NaN is itself, and true is not 1."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_same(value, new[key]) for key, value in old.items())
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        return len(old) == len(new) and all(map(_same, old, new))
    if isinstance(old, bool) is not isinstance(new, bool):
        return False
    both_nan = isinstance(old, float) and isinstance(new, float) and old != old and new != new
    return both_nan or bool(old == new)


def _filled(given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Settings with the defaults of those that are not there, block by block; a block that is null has all of them."""
    missing = {
        key: value
        for key, value in defaults.items()
        if key not in given or (given[key] is None and isinstance(value, dict))
    }
    blocks = {
        key: _filled(value, defaults[key])
        for key, value in given.items()
        if isinstance(value, dict) and isinstance(defaults.get(key), dict)
    }
    return {**given, **missing, **blocks}


def _is_levels(change: Change) -> bool:
    """Whether it is of a list of levels, of a curriculum or of one of its dimensions."""
    return change.key.startswith(CURRICULUM) and change.key.endswith(LEVELS)


def _levels(change: Change) -> list[Change]:
    """The lists of levels of two curricula, level by level."""
    old, new = read_levels(change.old or []), read_levels(change.new or [])
    return [Change(f"{change.key}.{found.key}", found.old, found.new) for found in differences(old, new)]


def table(found: list[Change]) -> str:
    """Old and new, side by side."""
    rows = [("setting", "run", "now"), *((_shown(c.key), str(c.old), str(c.new)) for c in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, dict) and tree:
        return {
            key: value
            for name, part in tree.items()
            for key, value in _flat(part, f"{prefix}.{name}" if prefix else str(name)).items()
        }
    return {} if tree == {} else {prefix: tree}
