"""One run as its directory says it is: read from small files, without torch, a lock, or a word written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lit_rl.checkpoint.manifest import CHECKPOINTS, Checkpoint, places_in, read_checkpoint
from lit_rl.compare.logs import LEVEL, RETURN, STEP, read_columns, read_evaluations
from lit_rl.compare.settings import read_settings, value_at
from lit_rl.errors import DataError
from lit_rl.run.directory import LINEAGE, is_held, versions_of
from lit_rl.run.lineage import Lineage, is_end

_LINKS = ("last", "best")


@dataclass
class Returns:
    """Mean returns of a run, the last and the best; `None` where there is none.

    Args:
        source: `evaluation` where the run has evaluations, else `training`: means over the last 100 episodes.
    """

    source: str
    last: float | None = None
    best: float | None = None


@dataclass
class RunRecord:
    """What one run is.

    Args:
        path: its directory.
        name: by which it was started, and `version` its directory's own name.
        state: `running`, `paused`, `stopped`, `failed`, `killed`, `finished`, `damaged`, or `unknown`: begun on another
            machine and not ended as far as is written down.
        cause: why its last segment ended; `None` while it goes on.
        run_id: names it for good.
        env: id or class of its environment.
        algorithm: by name.
        seed: of the run.
        mode: how it began: `fresh`, `warmstart` or `fork`; and `parent` from what.
        timesteps: how far it has come, and `target` where it is to end.
        level: index of the curriculum's level, `level_name` its name, and `levels` how many there are; `None` without.
        returns: of evaluations, or of training.
        started: UTC time of the first segment, and `ended` of the last one.
        segments: how many process lifetimes it had.
        problems: what could not be read, in a line each.
    """

    path: str
    name: str
    version: str
    state: str = "damaged"
    cause: str | None = None
    run_id: str | None = None
    env: str | None = None
    algorithm: str | None = None
    seed: int | None = None
    mode: str | None = None
    parent: str | None = None
    timesteps: int | None = None
    target: int | None = None
    level: int | None = None
    level_name: str | None = None
    levels: int | None = None
    returns: Returns = field(default_factory=lambda: Returns("training"))
    started: str | None = None
    ended: str | None = None
    segments: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{self.name}/{self.version}"

    @property
    def short(self) -> str:
        """The same in fewer letters: `cartpole/0`."""
        return f"{self.name}/{self.version.removeprefix('version_')}"

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def runs_below(root: Path) -> Iterator[Path]:
    """Every run directory below `root`, by name, the newest of a name first."""
    if root.is_dir():
        for name in sorted(path.name for path in root.iterdir() if path.is_dir()):
            yield from versions_of(root, name)


def read_run(directory: Path) -> RunRecord:
    """The record of a run directory. Whatever is damaged or missing is left out and named in `problems`."""
    record = RunRecord(str(directory), directory.absolute().parent.name, directory.absolute().name)
    settings: dict[str, Any] = {}
    try:
        settings = read_settings(directory)
    except DataError as error:
        record.problems.append(str(error))
    _from_settings(record, settings)
    _from_logs(record, directory, settings)
    checkpoints = read_checkpoints(directory, record.problems)
    if record.timesteps is None and checkpoints:
        record.timesteps = checkpoints[-1].manifest.timesteps
    held = is_held(directory)
    try:
        lineage = Lineage.read(directory)
        _from_lineage(record, lineage, held)
    except (DataError, OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        record.problems.append(str(error) if isinstance(error, DataError) else f"{directory / LINEAGE} is damaged.")
        record.state = "running" if held else "damaged"
    if not checkpoints and any(places_in(directory / CHECKPOINTS)) and not held:
        record.state = "damaged"
    return record


def read_checkpoints(directory: Path, problems: list[str]) -> list[Checkpoint]:
    """A run's checkpoints by their manifests, oldest first; adds to `problems` what is none."""
    found = []
    for place in places_in(directory / CHECKPOINTS):
        if place.name in _LINKS:
            continue
        try:
            found.append(read_checkpoint(place))
        except DataError as error:
            if place.exists():  # a run that goes on may have deleted it in this moment
                problems.append(str(error))
    return sorted(found, key=lambda checkpoint: checkpoint.manifest.order)


def _from_settings(record: RunRecord, settings: dict[str, Any]) -> None:
    env = value_at(settings, "env", "id") or value_at(settings, "env", "class_path")
    record.env = None if env is None else str(env)
    model = value_at(settings, "model", "class_path")
    record.algorithm = None if model is None else str(model).rsplit(".", 1)[-1]
    seed, target = settings.get("seed_everything"), settings.get("total_timesteps")
    record.seed = seed if type(seed) is int else None
    record.target = target if type(target) is int else None
    levels = value_at(settings, "curriculum", "levels")
    record.levels = len(levels) if isinstance(levels, list) and levels else None


def _from_logs(record: RunRecord, directory: Path, settings: dict[str, Any]) -> None:
    try:
        columns = read_columns(directory, [RETURN, LEVEL])
        if len(columns[STEP]):
            record.timesteps = int(columns[STEP][-1])
        record.returns = _returns("training", columns[RETURN])
        reached = columns[LEVEL][np.isfinite(columns[LEVEL])]
        if record.levels is not None and len(reached):
            record.level = int(reached[-1])
            levels = value_at(settings, "curriculum", "levels")
            if 0 <= record.level < len(levels) and value_at(levels[record.level], "name") is not None:
                record.level_name = str(levels[record.level]["name"])
    except DataError as error:
        record.problems.append(str(error))
    try:
        evaluations = read_evaluations(directory)
        if len(evaluations.timesteps):
            record.returns = _returns("evaluation", evaluations.means)
    except DataError as error:
        record.problems.append(str(error))


def _returns(source: str, values: np.ndarray) -> Returns:
    known = values[np.isfinite(values)]
    return Returns(source, float(known[-1]), float(known.max())) if len(known) else Returns(source)


def _from_lineage(record: RunRecord, lineage: Lineage, held: bool | None) -> None:
    record.name, record.run_id, record.mode = str(lineage.name), str(lineage.run_id), str(lineage.mode)
    record.parent = str(lineage.parents[0].get("path")) if lineage.parents else None
    record.segments = len(lineage.segments)
    if not lineage.segments:
        record.state = "running" if held else "killed"
        return
    first, last = lineage.segments[0], lineage.segments[-1]
    record.started, record.ended, record.target = str(first.start), last.end, int(last.target)
    record.cause = None if last.cause is None else str(last.cause)
    record.state = _state(record.cause, last.end, held)
    if last.end is not None and type(last.to_timesteps) is int:
        record.timesteps = last.to_timesteps


def _state(cause: str | None, end: str | None, held: bool | None) -> str:
    if held:
        return "running"
    if end is None:
        return "unknown" if held is None else "killed"
    if is_end(cause):
        return "finished"
    if cause == "pause_at":
        return "paused"
    return "failed" if str(cause).startswith("error") else "stopped"
