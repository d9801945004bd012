"""What a run has logged of its levels: which were played, how well, and bounds that adapted; from its files alone."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lit_rl.compare.logs import STEP, read_columns, read_rows
from lit_rl.compare.settings import value_at
from lit_rl.errors import DataError

MONITOR = "monitor.csv"
_SHARES = ("probability", "envs")
_SUCCESS = "success_rate"
_OF_A_LEVEL = re.compile(rf"curriculum/(?:(.+?)/)?({'|'.join((*_SHARES, _SUCCESS))})/(.+)")
_CURRENT = re.compile(r"curriculum/(?:(.+)/)?level")
_BOUND = re.compile(r"curriculum/(low|high)/(.+)")


@dataclass
class DimensionHistory:
    """The levels of one dimension over time.

    Args:
        name: its own; empty where there is only one.
        levels: names of its L levels, in their order.
        timesteps: [T], of the lines that say something of it.
        shares: [T, L] of the coming episodes, or of the environments where each has a level of its own.
        of_envs: whether they are of the environments.
        current: [T], index of the current level; NaN, and empty where there is none.
        success_at: [S], timesteps of `success`.
        success: [S, L], NaN where a level had none; empty where nothing says it.
        window: whether `success` is that of the strategy's window, or of the episodes around each timestep.
    """

    name: str
    levels: list[str]
    timesteps: np.ndarray = field(default_factory=lambda: np.zeros(0))
    shares: np.ndarray | None = None
    of_envs: bool = False
    current: np.ndarray | None = None
    success_at: np.ndarray = field(default_factory=lambda: np.zeros(0))
    success: np.ndarray | None = None
    window: bool = True


@dataclass
class Bound:
    """A parameter whose bounds adapted: `low` and `high` [T] at `timesteps` [T]."""

    name: str
    timesteps: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass
class LevelsHistory:
    """All of a run."""

    dimensions: list[DimensionHistory] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)


def read_levels(directory: Path, settings: Mapping[str, Any]) -> LevelsHistory:
    """What ``metrics.csv`` and ``monitor.csv`` say of levels; nothing for a run without.

    Args:
        directory: of the run.
        settings: of the run, which say the levels' order; as far as they could be read.

    Raises:
        DataError: a file cannot be read.
    """
    header = next(iter(read_rows(directory)), [])
    wanted = [name for name in header if name.startswith("curriculum/")]
    if not wanted:
        return LevelsHistory()
    columns = read_columns(directory, wanted)
    names = _names(settings)
    sizes = tuple(len(levels) for levels in names.values())  # by which episodes name theirs
    for column in wanted:
        found = _OF_A_LEVEL.fullmatch(column)
        if found and not any(column in _columns_of(name, levels) for name, levels in names.items()):
            names.setdefault(found[1] or "", []).append(found[3])  # of levels that the run had before
        elif not found and (current := _CURRENT.fullmatch(column)):
            names.setdefault(current[1] or "", [])
    histories = [_dimension(name, list(dict.fromkeys(levels)), columns) for name, levels in names.items()]
    if columns[STEP].size and sizes and 0 not in sizes and len(sizes) == len(histories):
        _add_success(directory, histories, sizes)
    bounds = [match[2] for column in wanted if (match := _BOUND.fullmatch(column)) and match[1] == "low"]
    return LevelsHistory(
        [each for each in histories if each.shares is not None or each.current is not None],
        [bound for name in bounds if (bound := _bound(name, columns)) is not None],
    )


def _names(settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """By dimension, the names of the levels as the settings have them."""
    block = settings.get("curriculum")
    dimensions = value_at(block, "dimensions") if isinstance(block, dict) else None
    blocks = dimensions if isinstance(dimensions, dict) and dimensions else {"": block}
    return {str(name): list(_level_names(each)) for name, each in blocks.items()}


def _level_names(block: Any) -> Iterator[str]:
    levels, count = value_at(block, "levels"), value_at(block, "n_levels")
    if isinstance(levels, list) and levels:
        yield from (str(value_at(each, "name")) for each in levels)
    elif type(count) is int and 0 < count <= 10_000:
        yield from map(str, range(count))


def _columns_of(dimension: str, levels: Sequence[str]) -> set[str]:
    prefix = f"curriculum/{dimension}/" if dimension else "curriculum/"
    return {f"{prefix}{kind}/{level}" for kind in (*_SHARES, _SUCCESS) for level in levels}


def _dimension(name: str, levels: list[str], columns: Mapping[str, np.ndarray]) -> DimensionHistory:
    prefix = f"curriculum/{name}/" if name else "curriculum/"
    history = DimensionHistory(name, levels)
    for kind in _SHARES:
        shares = _of_levels(f"{prefix}{kind}/", levels, columns)
        if shares is not None:
            known = np.isfinite(shares).any(axis=1)
            history.timesteps, history.shares = columns[STEP][known], np.nan_to_num(shares[known]).clip(0.0, 1.0)
            history.of_envs = kind == "envs"
    success = _of_levels(f"{prefix}{_SUCCESS}/", levels, columns)
    if success is not None:
        history.success_at, history.success = columns[STEP], success
    current = columns.get(f"{prefix}level")
    if current is not None and np.isfinite(current).any():
        known = np.isfinite(current)
        history.timesteps, history.current = columns[STEP][known], current[known]
    return history


def _of_levels(prefix: str, levels: Sequence[str], columns: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """[T, L], NaN for what was not logged; `None` where nothing was."""
    empty = np.full(len(columns[STEP]), np.nan)
    found = [columns.get(f"{prefix}{level}", empty) for level in levels]
    table = np.stack(found, axis=1) if found else np.zeros((0, 0))
    return table if np.isfinite(table).any() else None


def _bound(name: str, columns: Mapping[str, np.ndarray]) -> Bound | None:
    low, high = columns[f"curriculum/low/{name}"], columns.get(f"curriculum/high/{name}")
    if high is None:
        return None
    known = np.isfinite(low) & np.isfinite(high) & (np.abs(low) < 1e300) & (np.abs(high) < 1e300)
    return Bound(name, columns[STEP][known], low[known], high[known]) if known.any() else None


def _add_success(directory: Path, histories: Sequence[DimensionHistory], sizes: tuple[int, ...]) -> None:
    """Success of the levels whose strategy logs none, from the episodes: each at the sum of the lengths so far."""
    if all(each.success is not None or len(each.levels) == 1 for each in histories):
        return
    lengths, levels, success = _episodes(directory)
    known = (levels >= 0) & (levels < np.prod(sizes)) & np.isfinite(success)
    at = np.cumsum(lengths)[known]
    if not len(at):
        return
    own = np.unravel_index(levels[known].astype(np.int64), sizes)
    for history, index, size in zip(histories, own, sizes, strict=True):
        if history.success is None and size > 1:
            history.window = False
            history.success_at, history.success = _binned(at, index, success[known], size)


def _binned(at: np.ndarray, index: np.ndarray, success: np.ndarray, n_levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Means [B, L] of the episodes of each level in B stretches of time, and where these end."""
    count = 120
    edges = np.linspace(0.0, float(at.max()), count + 1)[1:]
    place = np.minimum(np.searchsorted(edges, at), count - 1) * n_levels + index
    sums, counts = (np.bincount(place, weights, count * n_levels) for weights in (success, None))
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return edges, means.reshape(count, n_levels)


def _episodes(directory: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every episode in ``monitor.csv``: length, level, and success, NaN where it is not known."""
    file, rows = directory / MONITOR, []
    try:
        with open(file, newline="", encoding="utf-8") as opened:
            next(opened, "")
            for row in csv.DictReader(opened):
                rows.append([_number(row.get(name)) for name in ("l", "level", "is_success")])
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}.") from None
    except (csv.Error, ValueError) as error:
        raise DataError(f"{file} is damaged: {error}.") from None
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 3)
    table = table[np.isfinite(table[:, 0]) & (table[:, 0] > 0.0) & np.isfinite(table[:, 1])]
    return table[:, 0], table[:, 1], table[:, 2]


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return np.nan
