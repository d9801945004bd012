"""What happened to a run, and what it logged on the way: all that a report shows of it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lit_rl.compare.levels import LevelsHistory, read_levels
from lit_rl.compare.logs import FPS, LEVEL, RETURN, STEP, Evaluations, read_columns, read_evaluations
from lit_rl.compare.runs import RunRecord, read_run
from lit_rl.compare.settings import flattened, read_settings, value_at
from lit_rl.compare.tested import Tested, read_tested
from lit_rl.errors import DataError
from lit_rl.run.lineage import Lineage, Segment, is_end

_LARGEST = 1e300
_FROM = {"fork": "forked from", "adopt": "goes on with the training of"}
"""How runs begin that begin where another one stands, and what is said of it."""


@dataclass(frozen=True)
class Curve:
    """Values [T] at timesteps [T], all finite."""

    timesteps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Event:
    """Something that happened to a run.

    Args:
        timesteps: when.
        kind: `stop`, `resume`, `level` or `fork`.
        text: what.
    """

    timesteps: int
    kind: str
    text: str


@dataclass
class RunHistory:
    """A run with its logs.

    Args:
        directory: where it lies.
        record: what it is.
        settings: by dotted keys.
        training: mean return over the last episodes, as logged.
        fps: timesteps a second, as logged.
        evaluations: all of those made beside training.
        tested: what `test` and `validate` have found.
        levels: which were played, and how well.
        events: in the order of their timesteps.
        segments: process lifetimes as (number, mode, from, to, cause), as far as they are known.
        parents: what it began from, as its lineage says.
    """

    directory: Path
    record: RunRecord
    settings: dict[str, str] = field(default_factory=dict)
    training: Curve | None = None
    fps: Curve | None = None
    evaluations: Evaluations = field(default_factory=Evaluations)
    tested: list[Tested] = field(default_factory=list)
    levels: LevelsHistory = field(default_factory=LevelsHistory)
    events: list[Event] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    parents: list[dict[str, Any]] = field(default_factory=list)

    def points(self, source: str) -> Curve | None:
        """The curve of returns in `training`, or in `evaluation`; `None` where there is none."""
        return self.training if source == "training" else curve_of(self.evaluations.timesteps, self.evaluations.means)


def curve_of(timesteps: np.ndarray, values: np.ndarray) -> Curve | None:
    """The points that are numbers, and none that a picture has no room for; `None` where there are none."""
    known = (np.abs(timesteps) < _LARGEST) & (np.abs(values) < _LARGEST)
    return Curve(timesteps[known], values[known]) if known.any() else None


def read_history(directory: Path) -> RunHistory:
    """Everything of a run that can be read; what cannot is named in `record.problems`."""
    history = RunHistory(directory, read_run(directory))
    levels: list[Event] = []
    settings: dict[str, Any] = {}
    with contextlib.suppress(DataError):  # named in the record, as below
        settings = read_settings(directory)
    with contextlib.suppress(DataError):
        columns = read_columns(directory, [RETURN, FPS, LEVEL])
        history.training = curve_of(columns[STEP], columns[RETURN])
        history.fps = curve_of(columns[STEP], columns[FPS])
        levels = _level_events(columns[STEP], columns[LEVEL], value_at(settings, "curriculum", "levels"))
    try:
        history.levels = read_levels(directory, settings)
    except DataError as error:
        if str(error) not in history.record.problems:
            history.record.problems.append(str(error))
    history.settings = flattened(settings)
    with contextlib.suppress(DataError):
        history.evaluations = read_evaluations(directory)
    history.tested = read_tested(directory, history.record.problems)
    lineage = read_lineage(directory)
    if lineage is not None:
        history.segments, history.parents = lineage.segments, lineage.parents
    running = history.record.state == "running"
    history.events = sorted([*_segment_events(history, running), *levels], key=lambda event: event.timesteps)
    return history


def read_lineage(directory: Path) -> Lineage | None:
    """A run's lineage with values of the kinds that it must have; `None` where there is none."""
    try:
        lineage = Lineage.read(directory)
    except (DataError, OSError):
        return None
    counts = [count for each in lineage.segments for count in (each.number, each.from_timesteps, each.target)]
    ends = [each.to_timesteps for each in lineage.segments if each.to_timesteps is not None]
    whole = all(type(count) is int for count in [*counts, *ends]) and isinstance(lineage.parents, list)
    return lineage if whole and all(isinstance(parent, dict) for parent in lineage.parents) else None


def _segment_events(history: RunHistory, running: bool) -> list[Event]:
    found = []
    for i, segment in enumerate(history.segments):
        mode = str(segment.mode)
        if history.record.mode in _FROM and i == 0:
            parent = history.parents[0].get("path") if history.parents else "?"
            found.append(Event(segment.from_timesteps, "fork", f"{_FROM[history.record.mode]} {parent}"))
        elif mode == "resume":
            changes = f"; changed: {', '.join(map(str, segment.config_changes))}" if segment.config_changes else ""
            found.append(Event(segment.from_timesteps, "resume", f"resumed, to {segment.target:,}{changes}"))
        is_last = i == len(history.segments) - 1
        if segment.end is None and not (is_last and running):
            after = history.segments[i + 1].from_timesteps if not is_last else history.record.timesteps or 0
            found.append(
                Event(after, "stop", "killed" if not is_last else f"ended without a word ({history.record.state})")
            )
        elif segment.end is not None and not is_end(segment.cause):
            found.append(Event(segment.to_timesteps or 0, "stop", f"stopped by {segment.cause}"))
    return found


def _level_events(timesteps: np.ndarray, level: np.ndarray, levels: Any) -> list[Event]:
    known = np.isfinite(level)
    timesteps, level = timesteps[known], level[known].astype(np.int64)
    found = []
    for i in np.flatnonzero(np.diff(level)) + 1:
        name = value_at(levels[level[i]], "name") if isinstance(levels, list) and 0 <= level[i] < len(levels) else None
        found.append(Event(int(timesteps[i]), "level", f"level {level[i]}{f', {name}' if name is not None else ''}"))
    return found
