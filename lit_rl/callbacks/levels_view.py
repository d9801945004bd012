"""Levels against environments, as lines of text: what `view: levels` shows while a run goes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lit_rl.callbacks.columns import Columns, pieces
from lit_rl.curriculum import Curriculum
from lit_rl.curriculum.curriculum import KEY
from lit_rl.curriculum.dimension import Dimension
from lit_rl.training.iteration import Iteration

WINDOW = 50
"""Of the last episodes of each level, for success where the strategy logs none."""
_MOST_IN_A_LINE = 8
_STAYS = 0.8
"""The rows that are shown stay the same as long as they have so much of the weight that others would have."""


@dataclass(frozen=True)
class Row:
    """A level, or several of them.

    Args:
        name: of it.
        envs: how many environments are playing it.
        coming: share of the episodes that begin now, or of the environments where each has its own level.
        success: share of its last episodes.
        current: whether it is current for the whole run.
        is_rest: whether it stands for levels that there is no room for.
    """

    name: str
    envs: int
    coming: float | None = None
    success: float | None = None
    current: bool = False
    is_rest: bool = False


class LevelsView:
    """What is played now, in lines. It looks at a run and changes nothing of it.

    Args:
        curriculum: of the run. Only its names are asked for, and what is constant.
        latest: what the run logged last.
        of: whose environments are counted, where it is not all of them.
    """

    def __init__(self, curriculum: Curriculum, latest: Mapping[str, float], of: str = "") -> None:
        self._dimensions, self._bounds, self._of = curriculum.dimensions, curriculum.bounds, of
        self._metrics = latest
        self._iterations: deque[Iteration] = deque()
        self._windows = {name: [deque[bool](maxlen=WINDOW) for _ in each.names] for name, each in self._items()}
        self._first: dict[str, int] = {}

    def take(self, iteration: Iteration) -> None:
        """An iteration has ended; it is looked at when the next lines are made."""
        self._iterations.append(iteration)

    def lines(self, levels: np.ndarray, columns: int, height: int, ascii_only: bool = False) -> list[str]:
        """The picture: every dimension with its levels, then bounds that adapt.

        Args:
            levels: int64 [N], of the environments.
            columns: how wide it may be.
            height: how many lines there may be; of more levels, those where most is played, and what is left out.
            ascii_only: whether the terminal shows nothing else.
        """
        self._look()
        tables = {name: self._rows(name, own) for name, own in self._by_dimension(levels).items()}
        bounds = self._bounds_now()
        names = [row.name for rows in tables.values() for row in rows] + [*bounds]
        layout = Columns(columns, names, any(row.coming is not None for rows in tables.values() for row in rows))
        room = height - len(tables) - (1 + len(bounds) if bounds else 0)
        given = _shares([len(rows) for rows in tables.values()], room)
        most = max((row.envs for rows in tables.values() for row in rows), default=0) or 1
        lines = []
        for (name, rows), share in zip(tables.items(), given, strict=True):
            lines.append(layout.head(f"{name or 'levels'}: {self._dimensions[name].describe()}{self._of}"))
            for row in self._shown(name, rows, share):
                bar = "" if row.is_rest else pieces(row.envs / most, layout.bar, ascii_only)
                mark = ">" if row.current else ""
                lines.append(layout.line(mark, row.name, bar, row.envs, row.coming, row.success))
        if bounds:
            lines.append("bounds that adapt")
        for name, (low, high, limits) in bounds.items():
            lines.append(layout.bound(name, low, high, limits, ascii_only))
        if ascii_only:
            lines = [line.encode("ascii", "replace").decode() for line in lines]
        return lines[: max(height, 0)]

    def in_a_line(self, levels: np.ndarray) -> str:
        """The same where there is no terminal: how many environments are on which level."""
        self._look()
        parts = []
        for name, own in self._by_dimension(levels).items():
            rows = [row for row in self._rows(name, own) if row.envs]
            kept = sorted(rows, key=lambda row: -row.envs)[:_MOST_IN_A_LINE]
            said = [f"{row.envs} on {row.name}" for row in rows if row in kept]
            left = len(rows) - len(kept)
            rest = sum(row.envs for row in rows) - sum(row.envs for row in kept)
            said += [f"{rest} on {left} others"] if left else []
            parts.append(f"environments by {name or 'level'}{self._of}: {', '.join(said)}")
        parts += [f"{name} {low:.4g} to {high:.4g}" for name, (low, high, _) in self._bounds_now().items()]
        return "; ".join(parts)

    # -- what is known -------------------------------------------------------------------------------------------

    def _items(self) -> list[tuple[str, Dimension]]:
        return list(self._dimensions.items())

    def _look(self) -> None:
        """Take in the iterations that have ended."""
        while self._iterations:
            iteration = self._iterations.popleft()
            self._metrics = iteration.metrics
            known = [(each.level, each.success) for each in iteration.ended if each.success is not None]
            of_each = self._by_dimension(np.array([level for level, _ in known], dtype=np.int64))
            for name, own in of_each.items():
                for level, (_, success) in zip(own.tolist(), known, strict=True):
                    self._windows[name][level].append(success)

    def _by_dimension(self, levels: np.ndarray) -> dict[str, np.ndarray]:
        """Indices among the levels of all dimensions together, as those of each: the last one's are the fastest."""
        sizes = tuple(len(each.names) for _, each in self._items())
        return dict(zip(self._dimensions, np.unravel_index(levels, sizes), strict=True))

    def _rows(self, name: str, own: np.ndarray) -> list[Row]:
        dimension, now = self._dimensions[name], self._metrics
        prefix = f"{KEY}/{name}/" if name else f"{KEY}/"
        counts = np.bincount(own, minlength=len(dimension.names)).tolist()
        rows = []
        for i, level in enumerate(dimension.names):
            coming = now.get(f"{prefix}probability/{level}", now.get(f"{prefix}envs/{level}"))
            window = self._windows[name][i]
            seen = sum(window) / len(window) if window else None
            success = now.get(f"{prefix}success_rate/{level}", seen)
            rows.append(Row(level, counts[i], coming, success, dimension.current == i))
        return rows

    def _bounds_now(self) -> dict[str, tuple[float, float, tuple[float, float]]]:
        """By parameter: low, high, and the limits of both."""
        if self._bounds is None:
            return {}
        found = {}
        for name, each in self._bounds.ranges.items():
            low, high = (self._metrics.get(f"{KEY}/{side}/{name}") for side in ("low", "high"))
            start = each.start
            found[name] = (start[0] if low is None else low, start[1] if high is None else high, each.limits)
        return found

    # -- what there is room for ----------------------------------------------------------------------------------

    def _shown(self, name: str, rows: list[Row], room: int) -> list[Row]:
        """All rows, or those that weigh most with what is before and after them, in a row each."""
        if len(rows) <= room:
            return rows
        notes = 2 if room > 2 else 0
        count = max(room - notes, 0)
        first = self._first[name] = _heaviest([_weight(row) for row in rows], count, self._first.get(name))
        before, shown, after = rows[:first], rows[first : first + count], rows[first + count :]
        if not notes:
            return shown
        return [*_together(before, "before"), *shown, *_together(after, "after")]


def _weight(row: Row) -> float:
    return row.envs + 1000.0 * (row.coming or 0.0) + 1e6 * row.current


def _heaviest(weights: list[float], count: int, before: int | None) -> int:
    """Where the `count` neighbours begin that weigh most; those of `before`, as long as they weigh nearly as much."""
    sums = np.convolve(weights, np.ones(max(count, 1)), "valid")
    if before is not None and before < len(sums) and sums[before] >= _STAYS * sums.max():
        return before
    best = np.flatnonzero(sums >= sums.max() * (1.0 - 1e-9))
    return int(best[len(best) // 2])


def _together(rows: list[Row], where: str) -> list[Row]:
    """Rows that are left out, as one."""
    if not rows:
        return []
    coming = [row.coming for row in rows if row.coming is not None]
    envs = sum(row.envs for row in rows)
    return [Row(f".. {len(rows)} more {where}", envs, sum(coming) if coming else None, is_rest=True)]


def _shares(wanted: list[int], room: int) -> list[int]:
    """How many lines each gets: what it wants, or an equal part of what is left by those that want less."""
    given = [0] * len(wanted)
    for done, i in enumerate(sorted(range(len(wanted)), key=lambda i: wanted[i])):
        given[i] = max(min(wanted[i], room // (len(wanted) - done)), 0)
        room -= given[i]
    return given
