"""The part of a run's report that is about its levels."""

from __future__ import annotations

import numpy as np

from lit_rl.compare.areas import areas, cells
from lit_rl.compare.chart import Line, chart
from lit_rl.compare.html import esc
from lit_rl.compare.levels import Bound, DimensionHistory, LevelsHistory


def levels(history: LevelsHistory) -> str:
    """Pictures of every dimension, then of every bound that adapts; empty for a run without levels."""
    parts = []
    for each in history.dimensions:
        parts.append(f"<h3>{esc(f'Levels: {each.name}' if each.name else 'Levels')}</h3>")
        parts += [_shares(each), _current(each), _success(each)]
    if history.bounds:
        parts.append("<h3>Bounds that adapt</h3>")
        parts += [_bound(each) for each in history.bounds]
    return "".join(parts)


def _shares(dimension: DimensionHistory) -> str:
    if dimension.shares is None or not len(dimension.timesteps):
        return ""
    of = "Environments on each level, as a share" if dimension.of_envs else "Coming episodes on each level, as a share"
    return areas(of, dimension.timesteps, dimension.shares, dimension.levels)


def _current(dimension: DimensionHistory) -> str:
    """The current level of a list, in steps."""
    if dimension.current is None:
        return ""
    x, y = np.repeat(dimension.timesteps, 2)[1:], np.repeat(dimension.current, 2)[:-1]
    return chart("Current level", [Line("index of the level", x, y)])


def _success(dimension: DimensionHistory) -> str:
    if dimension.success is None or not np.isfinite(dimension.success).any():
        return ""
    over = "over the window of the strategy" if dimension.window else "of the episodes that ended then"
    title = f"Success on each level, {over}"
    names = dimension.levels[: dimension.success.shape[1]]
    return cells(title, dimension.success_at, dimension.success, names, "no episode")


def _bound(bound: Bound) -> str:
    high = Line(f"{bound.name}, high", bound.timesteps, bound.high, 1, bound.low, bound.high)
    return chart(f"{bound.name}, between its bounds", [high, Line("low", bound.timesteps, bound.low, 2)])
