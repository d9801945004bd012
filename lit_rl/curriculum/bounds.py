"""Automatic domain randomisation: bounds of parameters that widen and narrow by what succeeds at them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lit_rl.curriculum.rules.bound import whole_number
from lit_rl.curriculum.success import success_of
from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError
from lit_rl.ops.limits import above, between, check_value, refuse_unknown, shown

SIDES = ("low", "high")


@dataclass(frozen=True)
class Bounds:
    """Between which values parameters are drawn: it stands still until the iteration ends.

    Args:
        boundary: share of the episodes that are a test of one bound.
        names: of the parameters.
        low: of each.
        high: of each.
    """

    boundary: float
    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def draw(self, rng: np.random.Generator) -> tuple[dict[str, float], str | None]:
        """A value for each parameter, uniform between its bounds, and which bound is tested, such as `wind.high`.

        With probability `boundary` one bound of one parameter, each as likely, is that parameter's value. It takes
        three numbers from `rng` and one more for each parameter, whatever comes out.
        """
        u = rng.random(3 + len(self.names)).tolist()
        bounds = zip(self.names, self.low, self.high, u[3:], strict=True)
        values = {name: low + (high - low) * at for name, low, high, at in bounds}
        if u[0] >= self.boundary:
            return values, None
        which = int(u[1] * len(self.names))
        side = SIDES[int(u[2] * 2)]
        values[self.names[which]] = self.at(which, side)
        return values, f"{self.names[which]}.{side}"

    def at(self, which: int, side: str) -> float:
        """One bound of the parameter of index `which`."""
        return (self.low if side == "low" else self.high)[which]


@dataclass(frozen=True)
class _Range:
    """What a file says of one parameter: the bounds it starts with, those it never passes, and how far one moves."""

    start: tuple[float, float]
    limits: tuple[float, float]
    step: float

    def moved(self, side: str, value: float, outward: bool) -> float:
        """A bound after a step: not past its limit, and not narrower than its start."""
        up = outward == (side == "high")
        return self.within(side, value + self.step if up else value - self.step)

    def within(self, side: str, value: float) -> float:
        """The nearest value that the bound may have."""
        if side == "low":
            return min(max(value, self.limits[0]), self.start[0])
        return max(min(value, self.limits[1]), self.start[1])


class AdaptiveBounds:
    """Bounds of parameters, and for each a queue of what was achieved at it; equal on every rank.

    A queue that is full is looked at and emptied: with a mean of `widen` or more the bound moves outward by a step, not
    past its limit; with one of `narrow` or less inward, not narrower than at the start. After OpenAI et al. 2019,
    *Solving Rubik's Cube with a Robot Hand* (1910.07113).

    Args:
        parameters: by name `{start, limits, step}`: a number or `[low, high]` to start with, `[lowest, highest]`, and
            how far a bound moves.
        widen: mean at which a bound moves outward.
        narrow: mean at which it moves inward.
        boundary: share of the episodes that are a test of one bound.
        queue: episodes at a bound, after which it may move.
        metric: `success_rate`, or `ep_rew_mean` (return).
        key: what error messages call the block.

    Raises:
        ConfigError: names the key, what is wrong and the fix.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        *,
        widen: float,
        narrow: float,
        boundary: float = 0.5,
        queue: int = 10,
        metric: Literal["success_rate", "ep_rew_mean"] = "success_rate",
        key: str = "curriculum.bounds",
    ) -> None:
        check_value(widen, float, f"{key}.widen")
        check_value(narrow, float, f"{key}.narrow")
        if narrow >= widen:
            raise ConfigError(f"{key}.narrow: {shown(narrow)} must be less than widen, {shown(widen)}.")
        check_value(boundary, float, f"{key}.boundary", between(0.0, 1.0))
        check_value(metric, Literal["success_rate", "ep_rew_mean"], f"{key}.metric")
        if not isinstance(parameters, Mapping) or not parameters:
            raise ConfigError(f"{key}: must name at least one parameter, is {shown(parameters)}.")
        self.widen, self.narrow, self.boundary, self.metric = widen, narrow, float(boundary), metric
        self.queue = whole_number(f"{key}.queue", queue)
        self.ranges = {name: read_range(each, f"{key}: {name}") for name, each in parameters.items()}
        self.reset()

    def reset(self) -> None:
        """Begin with the bounds of the start and empty queues."""
        self._at = {(name, side): each.start[i] for name, each in self.ranges.items() for i, side in enumerate(SIDES)}
        self._queues: dict[tuple[str, str], list[float]] = {bound: [] for bound in self._at}
        self._bounds: Bounds | None = None

    def bounds(self) -> Bounds:
        """Those of the episodes that begin from now on; a new one only where one has moved."""
        if self._bounds is None:
            low, high = (tuple(self._at[name, side] for name in self.ranges) for side in SIDES)
            self._bounds = Bounds(self.boundary, tuple(self.ranges), low, high)
        return self._bounds

    def record(self, outcomes: Sequence[Episode]) -> None:
        """Take in the episodes that ended in one iteration, in the order (step, environment).

        One counts if it was a test of a bound that has not moved since it began.
        """
        for outcome in outcomes:
            task = outcome.task
            if task is None or task.pinned is None:
                continue
            name, _, side = task.pinned.rpartition(".")
            bound = name, side
            if bound in self._at and dict(task.drawn).get(name) == self._at[bound]:
                self._queues[bound].append(self._value(outcome))
                self._look(bound)

    def _value(self, outcome: Episode) -> float:
        if self.metric == "ep_rew_mean":
            return float(outcome.ret)
        return success_of(outcome, "bounds by success_rate", "use metric: ep_rew_mean")

    def _look(self, bound: tuple[str, str]) -> None:
        values = self._queues[bound]
        if len(values) < self.queue:
            return
        mean = math.fsum(values) / len(values)
        values.clear()
        if mean >= self.widen or mean <= self.narrow:
            name, side = bound
            new = self.ranges[name].moved(side, self._at[bound], outward=mean >= self.widen)
            if new != self._at[bound]:
                self._at[bound], self._bounds = new, None

    def metrics(self) -> dict[str, float]:
        """Both bounds of every parameter, and `npd`: the mean of the logarithms of high - low.

        A range counts as at least one step in `npd`, so that one that starts at a point has a logarithm.
        """
        metrics: dict[str, float] = {}
        logs = []
        for name, each in self.ranges.items():
            low, high = self._at[name, "low"], self._at[name, "high"]
            metrics |= {f"low/{name}": low, f"high/{name}": high}
            logs.append(math.log(max(high - low, each.step)))
        return {**metrics, "npd": math.fsum(logs) / len(logs)}

    def state_dict(self) -> dict[str, Any]:
        """Bounds and queues of every parameter."""
        return {
            "bounds": {
                name: {side: {"at": self._at[name, side], "queue": list(self._queues[name, side])} for side in SIDES}
                for name in self.ranges
            }
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`. Parameters that are gone are left out, new ones start anew; a bound outside
        limits that were changed moves to the nearest that is within, and its queue begins anew.
        """
        self.reset()
        for name, side in self._at:
            if name in state["bounds"]:
                saved = state["bounds"][name][side]
                self._at[name, side] = self.ranges[name].within(side, saved["at"])
                if self._at[name, side] == saved["at"]:
                    self._queues[name, side] = list(saved["queue"])


def read_range(given: Any, key: str) -> _Range:
    """What `{start, limits, step}` says; `key` is what error messages call it. Raises ConfigError."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{key}: must be {{start, limits, step}}, is {shown(given)}.")
    refuse_unknown(given, ("start", "limits", "step"), key)
    for name in ("start", "limits", "step"):
        if name not in given:
            raise ConfigError(f"{key}.{name}: missing; give start, limits and step.")
    start, limits = given["start"], _pair(given["limits"], f"{key}.limits")
    if limits[0] >= limits[1]:
        raise ConfigError(f"{key}.limits: the first must be less than the second, are {list(limits)}.")
    first = _pair(start if isinstance(start, list | tuple) else [start, start], f"{key}.start")
    if first[0] > first[1]:
        raise ConfigError(f"{key}.start: the first must not be more than the second, are {list(first)}.")
    if first[0] < limits[0] or first[1] > limits[1]:
        raise ConfigError(f"{key}.start: {shown(start)} lies outside the limits {list(limits)}.")
    check_value(given["step"], float, f"{key}.step", above(0.0))
    return _Range(first, limits, float(given["step"]))


def _pair(value: Any, key: str) -> tuple[float, float]:
    check_value(value, list[float], key)
    if len(value) != 2:
        raise ConfigError(f"{key}: must be two numbers, is {shown(value)}.")
    return float(value[0]), float(value[1])
