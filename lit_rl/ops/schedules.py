"""Values that change over a run: learning rate, clip range and the like."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, TypeAlias

from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.ops.limits import Limit, check_number, check_record, shown


@dataclass(frozen=True)
class Schedule:
    """A value that goes from `start` to `end` over the first `fraction` of the run and stays at `end` after it.

    Args:
        start: the value at timestep 0.
        end: the value at ``fraction`` of the target. `null` with shape `constant`.
        shape: `constant`, `linear`, `cosine` (half a cosine wave), or `exponential` (a constant factor per timestep;
            start and end above 0).
        fraction: where `end` is reached, as a share of the run in (0, 1].
    """

    start: float
    end: float | None = None
    shape: Literal["constant", "linear", "cosine", "exponential"] = "linear"
    fraction: float = 1.0

    LIMITS: ClassVar = {"fraction": Limit(0, 1, without_low=True)}

    def __post_init__(self) -> None:
        check_record(self, "schedule")
        if self.shape == "exponential" and (self.start <= 0 or self._end <= 0):
            raise ConfigError("an exponential schedule needs start and end above 0.")

    @property
    def _end(self) -> float:
        if self.end is not None:
            return self.end
        return self.start if self.shape == "constant" else 0.0

    def __call__(self, progress_remaining: float) -> float:
        """The value when `progress_remaining` of the run is left (1 at the start, 0 at the target)."""
        start, end = self.start, self._end
        if self.shape == "constant":
            return start
        if self.shape == "linear" and end == 0.0 and self.fraction == 1.0:
            return progress_remaining * start  # SB3's own arithmetic, to the last bit
        done = min((1.0 - progress_remaining) / self.fraction, 1.0)
        if self.shape == "linear":
            return start + done * (end - start)
        if self.shape == "cosine":
            return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * done))
        value: float = start * (end / start) ** done
        return value


ScheduleLike: TypeAlias = float | str | Schedule
"""What a setting takes: a number, the RL Zoo's ``lin_3e-4``, or a `Schedule`."""

ZOO_FORM = re.compile(r"lin_([0-9.eE+-]+)")
"""From a number to 0, as the RL Zoo writes it."""


def as_schedule(value: ScheduleLike | dict[str, object], key: str, limit: Limit | None = None) -> Schedule:
    """Read a setting; `key` names it in the error. Its values, from the start to the end, lie within `limit`.

    Raises:
        ConfigError: it is none of the forms of `ScheduleLike`, nor a dictionary of a `Schedule`'s fields.
    """
    schedule = _read(value, key)
    check_number(
        schedule.start, key if schedule.shape == "constant" or isinstance(value, str) else f"{key}.start", limit
    )
    if schedule.end is not None:  # a range above 0 may be left at the very end
        check_number(schedule.end, f"{key}.end", limit, closed=True)
    return schedule


def _read(value: ScheduleLike | dict[str, object], key: str) -> Schedule:
    if isinstance(value, Schedule):
        return value
    if isinstance(value, dict):
        known = [field.name for field in fields(Schedule)]
        for name in value:
            if name not in known:
                raise ConfigError(
                    f"{key}: a schedule has no '{name}'; it takes {', '.join(known)}.{did_you_mean(name, known)}"
                )
        if "start" not in value:
            raise ConfigError(f"{key}: a schedule needs 'start', its value at timestep 0.")
        values = {
            name: part if name == "shape" or (name == "end" and part is None) else _number(part, f"{key}.{name}")
            for name, part in value.items()
        }
        try:
            return Schedule(**values)  # type: ignore[arg-type]
        except ConfigError as error:
            raise ConfigError(str(error).replace("schedule.", f"{key}.", 1)) from None
    if isinstance(value, str) and (match := ZOO_FORM.fullmatch(value)):
        return Schedule(_number(match[1], key), 0.0, "linear")
    return Schedule(_number(value, key), shape="constant")


def _number(value: object, key: str) -> float:
    if isinstance(value, bool):
        raise _neither(value, key)
    if isinstance(value, int):
        check_number(value, key)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise _neither(value, key) from None
    check_number(number, key)
    return number


def _neither(value: object, key: str) -> ConfigError:
    return ConfigError(
        f"{key}: {shown(value)} is neither a number, 'lin_<start>' nor a schedule {{start, end, shape, fraction}}."
    )


@dataclass
class Clock:
    """How long a run is, where it is on its schedules' time line, and what they do when its target moves.

    Args:
        target: the run ends at the first iteration boundary at or past this timestep.
        horizon: the timestep at which schedules reach their end.
        frozen: if set, schedules stand at this progress for good (`hold`).
    """

    target: int
    horizon: int
    frozen: float | None = None

    def progress_remaining(self, timesteps: int) -> float:
        """1 at the start, 0 at and after the horizon, as SB3's `progress_remaining`."""
        if self.frozen is not None:
            return self.frozen
        return max(0.0, 1.0 - timesteps / self.horizon)

    def move_target(self, how: Literal["keep", "stretch", "hold"], timesteps: int, target: int) -> None:
        """The run's target becomes `target` at `timesteps`.

        `keep` leaves schedules on their old horizon (after it they stay at their end), `stretch` lays them over the
        new target (what a run with that target would have had, and what SB3 does when it goes on learning), `hold`
        freezes them where they are.
        """
        self.target = target
        if how == "stretch":
            self.horizon, self.frozen = target, None
        elif how == "hold":
            self.frozen = self.progress_remaining(timesteps)

    def state_dict(self) -> dict[str, float | int | None]:
        return {"target": self.target, "horizon": self.horizon, "frozen": self.frozen}

    def load_state_dict(self, state: dict[str, float | int | None]) -> None:
        self.target, self.horizon = int(state["target"] or 0), int(state["horizon"] or 0)
        self.frozen = state["frozen"]
