"""Values of a level that are not one number: drawn anew for every episode, or following a ramp.

Each is a mapping in the place of a value: `{uniform: [0, 1]}`. What is drawn comes from the episode's own seed, so that
no random state is kept.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lit_rl.curriculum.bounds import read_range
from lit_rl.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Moment:
    """When an episode begins.

    Args:
        timesteps: of the run, at the boundary before.
        adapted: values that bounds of the run have been drawn from, by name.
    """

    timesteps: int = 0
    adapted: Mapping[str, float] | None = None


class Made(ABC):
    """A value that is made for each episode."""

    @abstractmethod
    def value(self, name: str, rng: np.random.Generator, moment: Moment) -> Any:
        """The value of the parameter `name` for an episode, drawn from a generator of its own."""

    @property
    def follows_time(self) -> bool:
        """Whether it changes with the run's timesteps."""
        return False


@dataclass(frozen=True)
class Uniform(Made):
    """`{uniform: [low, high]}`: any number in [low, high)."""

    low: float
    high: float

    def value(self, name: str, rng: np.random.Generator, moment: Moment) -> float:
        return float(rng.uniform(self.low, self.high))


@dataclass(frozen=True)
class LogUniform(Made):
    """`{loguniform: [low, high]}`: a number whose logarithm is uniform; both bounds above 0."""

    low: float
    high: float

    def value(self, name: str, rng: np.random.Generator, moment: Moment) -> float:
        drawn = math.exp(float(rng.uniform(math.log(self.low), math.log(self.high))))
        return min(max(drawn, self.low), self.high)


@dataclass(frozen=True)
class Gaussian(Made):
    """`{gaussian: [mean, std]}`: a normally distributed number."""

    mean: float
    std: float

    def value(self, name: str, rng: np.random.Generator, moment: Moment) -> float:
        return float(rng.normal(self.mean, self.std))


@dataclass(frozen=True)
class Integers(Made):
    """`{integers: [low, high]}`: a whole number from low to high, both included."""

    low: int
    high: int

    def value(self, name: str, rng: np.random.Generator, moment: Moment) -> int:
        return int(rng.integers(self.low, self.high + 1))


@dataclass(frozen=True)
class Choice(Made):
    """`{choice: [a, b, ...]}`: one of these values, each as likely as the others."""

    values: tuple[Any, ...]

    def value(self, name: str, rng: np.random.Generator, moment: Moment) -> Any:
        return self.values[int(rng.integers(len(self.values)))]


@dataclass(frozen=True)
class Ranges(Made):
    """`{ranges: [[a, b], [c, d]]}`: a number in one of several ranges, uniform over all of them together."""

    ranges: tuple[tuple[float, float], ...]

    def value(self, name: str, rng: np.random.Generator, moment: Moment) -> float:
        at = float(rng.uniform(0.0, math.fsum(high - low for low, high in self.ranges)))
        for low, high in self.ranges:
            if at < high - low:
                return low + at
            at -= high - low
        return self.ranges[-1][1]


@dataclass(frozen=True)
class Ramp(Made):
    """`{ramp: [start, end], over: N, after: M}`: linear in timesteps: `start` up to M, `end` from M + N on."""

    start: float
    end: float
    over: int
    after: int = 0

    follows_time = True

    def value(self, name: str, rng: np.random.Generator, moment: Moment) -> float:
        done = min(max((moment.timesteps - self.after) / self.over, 0.0), 1.0)
        return self.start * (1.0 - done) + self.end * done


@dataclass(frozen=True)
class Steps(Made):
    """`{steps: [[0, a], [N, b], ...]}`: each value from its timestep on."""

    steps: tuple[tuple[int, Any], ...]

    follows_time = True

    def value(self, name: str, rng: np.random.Generator, moment: Moment) -> Any:
        return [value for since, value in self.steps if moment.timesteps >= since][-1]


@dataclass(frozen=True)
class Adapting(Made):
    """`{adr: {start: ..., limits: [a, b], step: d}}`: within bounds that `curriculum.adr` moves.

    Where there are none, as in the look before a run, anywhere within the limits.
    """

    options: Mapping[str, Any]

    def value(self, name: str, rng: np.random.Generator, moment: Moment) -> float:
        low, high = self.options["limits"]
        drawn = float(rng.uniform(low, high))
        return drawn if moment.adapted is None else moment.adapted[name]


@dataclass(frozen=True)
class OverLevels:
    """`{ramp: [start, end], over: levels}`: `start` on the first level, `end` on the last; a constant of each level."""

    start: float
    end: float

    def on(self, level: int, n_levels: int) -> float | int:
        """Its value on a level. Whole numbers, where all levels have one and both ends are written as such."""
        gaps = max(n_levels - 1, 1)
        if isinstance(self.start, int) and isinstance(self.end, int) and (self.end - self.start) % gaps == 0:
            return self.start + (self.end - self.start) // gaps * level
        return self.start * (1.0 - level / gaps) + self.end * (level / gaps)


FORMS = ("uniform", "loguniform", "gaussian", "integers", "choice", "ranges", "ramp", "steps", "adr")
"""The first key of each."""


def is_made(value: Any) -> bool:
    """Whether a value of a level is one of these. A mapping that is meant as it stands: `{choice: [{...}]}`."""
    return isinstance(value, Mapping) and any(form in value for form in FORMS) and len(value) <= 3


def check_spelling(value: Any, key: str) -> None:
    """Refuse a mapping that looks like one of these and is none.

    Raises:
        ConfigError: names the nearest form.
    """
    if not is_made(value):
        _check_within(value, key)
    if isinstance(value, Mapping) and len(value) == 1 and not is_made(value):
        ((name, given),) = value.items()
        near = did_you_mean(name, FORMS) if isinstance(given, list | tuple) else ""
        if near:
            raise ConfigError(f"{key}.{name}: makes no value.{near} (A mapping as it stands: {{choice: [{{...}}]}}.)")


def _check_within(value: Any, key: str) -> None:
    """Refuse what would make a value where nothing does: within a mapping or a list."""
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        at = f"{key}.{name}" if isinstance(value, Mapping) else f"{key}[{name}]"
        if is_made(part) and len(part) == 1 and isinstance(next(iter(part.values())), list):
            raise ConfigError(f"{at}: values are made for whole parameters only; give several of these by `choice`.")
        _check_within(part, at)


def read_value(value: Mapping[str, Any], key: str) -> Made | OverLevels:
    """The value that a mapping means; `key` is what error messages call it.

    Raises:
        ConfigError: it is none, or its numbers are none.
    """
    form = next(form for form in FORMS if form in value)
    allowed = {"ramp": ("ramp", "over", "after")}.get(form, (form,))
    for name in value:
        if name not in allowed:
            raise ConfigError(f"{key}.{name}: not known beside {form}; known are {', '.join(allowed)}.")
    key = f"{key}.{form}"
    given = value[form]
    match form:
        case "uniform":
            return Uniform(*_range(given, key))
        case "loguniform":
            low, high = _range(given, key)
            if low <= 0:
                raise ConfigError(f"{key}: is {given!r}; both bounds must be above 0.")
            return LogUniform(low, high)
        case "gaussian":
            mean, std = _pair(given, key, "mean, standard deviation")
            if std < 0:
                raise ConfigError(f"{key}: is {given!r}; the standard deviation must be at least 0.")
            return Gaussian(mean, std)
        case "integers":
            low, high = _range(given, key)
            if low != low // 1 or high != high // 1 or max(abs(low), abs(high)) > 2**53:
                raise ConfigError(f"{key}: is {given!r}; both bounds must be whole numbers within {2**53:,}.")
            return Integers(int(low), int(high))
        case "choice":
            if not isinstance(given, Sequence) or isinstance(given, str) or not given:
                raise ConfigError(f"{key}: must be a list of values, is {given!r}.")
            return Choice(tuple(given))
        case "ranges":
            if not isinstance(given, Sequence) or isinstance(given, str) or not given:
                raise ConfigError(f"{key}: must be a list of ranges such as [[0, 1], [3, 4]], is {given!r}.")
            ranges = tuple(_range(each, f"{key}[{i}]") for i, each in enumerate(given))
            if all(low == high for low, high in ranges):
                raise ConfigError(f"{key}: is {given!r}, which has no room; use choice.")
            return Ranges(ranges)
        case "ramp":
            return _ramp(value, key)
        case "steps":
            return Steps(_steps(given, key))
    read_range(given, key)
    return Adapting(dict(given))


def _ramp(value: Mapping[str, Any], key: str) -> Ramp | OverLevels:
    start, end = _pair(value["ramp"], key, "start, end", keep=True)
    over: Any = value.get("over")
    if over == "levels":
        if "after" in value:
            raise ConfigError(f"{key}: `after` is for a ramp over timesteps; remove it.")
        return OverLevels(start, end)
    after = value.get("after", 0)
    whole = all(_is_number(n) and n == n // 1 for n in (over, after))
    if not whole or over < 1 or after < 0:
        raise ConfigError(
            f"{key}: needs `over`: a number of timesteps of at least 1, or `levels`; and `after`, if given, at least 0."
        )
    return Ramp(float(start), float(end), int(over), int(after))


def _steps(given: Any, key: str) -> tuple[tuple[int, Any], ...]:
    fit = isinstance(given, Sequence) and not isinstance(given, str) and bool(given)
    if not fit or not all(isinstance(each, Sequence) and len(each) == 2 and _is_number(each[0]) for each in given):
        raise ConfigError(f"{key}: must be a list of [timestep, value] such as [[0, 1], [50_000, 2]], is {given!r}.")
    if any(since != since // 1 for since, _ in given):
        raise ConfigError(f"{key}: timesteps are whole numbers, and are {[since for since, _ in given]}.")
    steps = tuple((int(since), value) for since, value in given)
    if steps[0][0] != 0 or any(a[0] >= b[0] for a, b in itertools.pairwise(steps)):
        raise ConfigError(f"{key}: timesteps must begin at 0 and rise, and are {[since for since, _ in steps]}.")
    return steps


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _pair(given: Any, key: str, what: str, keep: bool = False) -> tuple[Any, Any]:
    fit = isinstance(given, Sequence) and not isinstance(given, str) and len(given) == 2 and all(map(_is_number, given))
    if not fit:
        raise ConfigError(f"{key}: must be [{what}], is {given!r}.")
    return (given[0], given[1]) if keep else (float(given[0]), float(given[1]))


def _range(given: Any, key: str) -> tuple[float, float]:
    low, high = _pair(given, key, "low, high")
    if low > high:
        raise ConfigError(f"{key}: is {given!r}; the first must not be above the second.")
    return low, high
