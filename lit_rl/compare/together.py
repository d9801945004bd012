"""The part of a report that sets several runs beside each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lit_rl.compare.chart import Line, chart
from lit_rl.compare.history import RunHistory
from lit_rl.compare.html import esc, note, table
from lit_rl.compare.statistics import Group, Interval, groups_of
from lit_rl.compare.table import number, short_count

_SOURCES = {"evaluation": "mean return of evaluations", "training": "mean return of training episodes"}


def together(histories: Sequence[RunHistory], by: str) -> str:
    """A picture and a table for each environment, then every run in a line."""
    groups = groups_of(histories, by)
    parts = ["<h2>All runs</h2>"]
    for env in dict.fromkeys(group.env for group in groups):
        here = [group for group in groups if group.env == env]
        lines = [
            Line(_label(group), group.timesteps, group.curve.iqm, i, *_band(group)) for i, group in enumerate(here, 1)
        ]
        parts.append(f"<h3>{esc(env)}</h3>")
        parts.append(chart(f"Interquartile mean of the {_SOURCES[here[0].source]}", lines))
        rows = [
            (
                group.label,
                len(group.runs),
                _seeds(group),
                _interval(group.final, len(group.runs)),
                _interval(group.best, len(group.runs)),
            )
            for group in here
        ]
        titles = ["runs", "number", "seeds", "final, IQM [95% interval]", "best, IQM [95% interval]"]
        parts.append(table(f"Returns on {env}", titles, rows, (1,)))
    if groups:
        parts.append(
            note(
                "IQM: mean of the middle half of the runs. Bands and intervals: 95%, percentile bootstrap over runs "
                "(2,000 resamples, always the same ones), after Agarwal et al. 2021. Curves end where the shortest run "
                "of a group ends. One run has no interval, and few runs have a rough one."
            )
        )
    parts.append(_runs(histories))
    return f"<section>{''.join(parts)}</section>"


def _ends(history: RunHistory, source: str) -> list[str | None]:
    """The last return and the best."""
    curve = history.points(source)
    return [None, None] if curve is None else [number(float(curve.values[-1])), number(float(curve.values.max()))]


def _label(group: Group) -> str:
    count = len(group.runs)
    return f"{group.label}, {count} run{'s' * (count > 1)}"


def _band(group: Group) -> tuple[np.ndarray | None, np.ndarray | None]:
    return (None, None) if len(group.runs) < 2 else (group.curve.low, group.curve.high)


def _seeds(group: Group) -> str:
    return ", ".join(str(each.record.seed) for each in group.runs if each.record.seed is not None)


def _interval(found: Interval, runs: int) -> str:
    if runs == 1:
        return f"{number(float(found.iqm))}"
    low, high = number(float(found.low)), number(float(found.high))
    return f"{number(float(found.iqm))} [{low}, {high}]"


def _runs(histories: Sequence[RunHistory]) -> str:
    rows = []
    for each in histories:
        r = each.record
        progress = f"{short_count(r.timesteps or 0)} of {short_count(r.target)}"
        ends = [*_ends(each, "training"), *_ends(each, "evaluation")]
        rows.append([r.title, r.env, r.algorithm, r.seed, r.state, progress, *ends])
    titles = ["run", "environment", "algorithm", "seed", "state", "timesteps"]
    titles += ["training, final", "best", "evaluations, final", "best"]
    return table("Every run", titles, rows, (3, 6, 7, 8, 9))
