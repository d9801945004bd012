"""What varies between trials: one dimension a key of run.yaml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.ops.limits import shown

KINDS = ("uniform", "loguniform", "int", "choice")


@dataclass(frozen=True)
class Dimension:
    """How one key varies.

    Args:
        key: of run.yaml, dotted.
        kind: `uniform` or `loguniform` (numbers between two ends), `int` (whole numbers, both ends included), `choice`.
        values: the two ends, or the choices.
        step: of `int`.
    """

    key: str
    kind: str
    values: tuple[Any, ...]
    step: int = 1

    @classmethod
    def from_plain(cls, key: str, plain: Any) -> Dimension:
        """Of `{uniform: [a, b]}` and the like.

        Raises:
            ConfigError: it is none of them.
        """
        path = f"search.{key}"
        if not isinstance(plain, dict):
            raise ConfigError(f"{path}: expected such as {{uniform: [0.9, 0.999]}}, got {shown(plain)}.")
        kinds = [kind for kind in plain if kind in KINDS]
        for name in plain:
            if name not in KINDS and name != "step":
                raise ConfigError(f"{path}: unknown key '{name}'.{did_you_mean(str(name), [*KINDS, 'step'])}")
        if len(kinds) != 1:
            raise ConfigError(f"{path}: give one of {', '.join(KINDS)}.")
        kind, values = kinds[0], plain[kinds[0]]
        if not isinstance(values, list):
            raise ConfigError(f"{path}.{kind}: expected a list, got {shown(values)}.")
        if kind == "choice":
            _check_choices(path, values)
        else:
            _check_ends(path, kind, values)
        if "step" in plain and kind != "int":
            raise ConfigError(f"{path}.step: belongs to int, not to {kind}.")
        step = plain.get("step", 1)
        if not _is_whole(step) or step < 1:
            raise ConfigError(f"{path}.step is {shown(step)}; it must be a whole number, at least 1.")
        if kind == "int" and (values[1] - values[0]) % step:
            raise ConfigError(f"{path}: steps of {step} from {values[0]} do not end at {values[1]}.")
        return cls(key, kind, tuple(map(float, values) if kind in ("uniform", "loguniform") else values), step)

    @property
    def plain(self) -> dict[str, Any]:
        """As a sweep file has it."""
        step = {"step": self.step} if self.step != 1 else {}
        return {self.kind: list(self.values), **step}


def _check_choices(path: str, values: list[Any]) -> None:
    if not values:
        raise ConfigError(f"{path}.choice: is empty; list the values.")
    for i, value in enumerate(values):
        if any(value == other and type(value) is type(other) for other in values[:i]):
            raise ConfigError(f"{path}.choice: {shown(value)} stands twice.")


def _check_ends(path: str, kind: str, values: list[Any]) -> None:
    is_end = _is_whole if kind == "int" else _is_number
    if len(values) != 2 or not all(map(is_end, values)):
        what = "whole numbers" if kind == "int" else "numbers"
        raise ConfigError(f"{path}.{kind}: expected two {what} [from, to], got {shown(values)}.")
    if not values[0] < values[1]:
        raise ConfigError(f"{path}.{kind}: {shown(values[0])} is not below {shown(values[1])}.")
    if kind == "loguniform" and values[0] <= 0:
        raise ConfigError(f"{path}.loguniform: {shown(values[0])} has no logarithm; begin above 0.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def names_of(dimension: Dimension, write: Callable[[Any], str]) -> Mapping[str, Any]:
    """The choices by what Optuna stores for each: their text, as YAML."""
    return {write(value): value for value in dimension.values}


def brief(value: Any) -> str:
    """A value for a line or a table: numbers with four figures."""
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else shown(value)
