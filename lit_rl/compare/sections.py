"""The part of a report that is one run's."""

from __future__ import annotations

import numpy as np

from lit_rl.compare.chart import Line, Mark, chart
from lit_rl.compare.history import RunHistory
from lit_rl.compare.html import esc, facts, folded, note, table
from lit_rl.compare.levels_section import levels
from lit_rl.compare.logs import Evaluations, means_of
from lit_rl.compare.pedigree import pedigree
from lit_rl.compare.table import moment, number
from lit_rl.compare.video import video

_MOST_EVENTS = 60
_MOST_EVALUATIONS = 100


def run_section(history: RunHistory, anchor: str) -> str:
    """Everything about one run."""
    record = history.record
    heading = f'<h2 id="{anchor}">{esc(record.title)} <span class="state {record.state}">{record.state}</span></h2>'
    parts = [heading, _facts(history), *(note(f"WARNING: {problem}") for problem in record.problems)]
    parts += [_learning(history), _events(history), levels(history.levels), _speed(history)]
    parts += ["<h3>Lineage</h3>", pedigree(history), _segments(history)]
    film = video(history.directory)
    parts += ["<h3>Video</h3>", film] if film else []
    parts += [_tested(history), _evaluations(history.evaluations), _settings(history)]
    return f'<section aria-labelledby="{anchor}">{"".join(parts)}</section>'


def _facts(history: RunHistory) -> str:
    r = history.record
    of = "evaluations" if r.returns.source == "evaluation" else "training"
    level = (
        None
        if r.level is None
        else f"{r.level} of 0 to {(r.levels or 1) - 1}{f', {r.level_name}' if r.level_name else ''}"
    )
    versions = history.segments[-1].versions if history.segments else {}
    libraries = ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, dict) and versions else None
    return facts(
        [
            ("environment", r.env),
            ("algorithm", r.algorithm),
            ("seed", r.seed),
            ("began", r.mode if r.parent is None else f"{r.mode} from {r.parent}"),
            ("timesteps", None if r.timesteps is None else f"{r.timesteps:,} of {r.target or 0:,}"),
            ("level", level),
            (f"last return ({of})", number(r.returns.last)),
            (f"best return ({of})", number(r.returns.best)),
            ("ended by", r.cause),
            ("started", moment(r.started)),
            ("ended", moment(r.ended)),
            ("versions", libraries),
            ("directory", r.path),
        ]
    )


def _learning(history: RunHistory) -> str:
    lines = []
    if history.training is not None:
        lines.append(
            Line("training, mean of the last 100 episodes", history.training.timesteps, history.training.values)
        )
    evaluated = history.points("evaluation")
    if evaluated is not None:
        lines.append(
            Line("evaluations, mean", evaluated.timesteps, evaluated.values, 2, dots=len(evaluated.values) <= 60)
        )
    if not lines:
        return "<h3>Learning curve</h3>" + note("No episode has ended yet, as far as is logged.")
    marks = [
        Mark(event.timesteps, i, event.kind, f"{i}: {event.text}")
        for i, event in enumerate(history.events[:_MOST_EVENTS], 1)
    ]
    return "<h3>Learning curve</h3>" + chart("Return", lines, marks)


def _events(history: RunHistory) -> str:
    rows = [(i, f"{event.timesteps:,}", event.text) for i, event in enumerate(history.events[:_MOST_EVENTS], 1)]
    left = len(history.events) - len(rows)
    if not rows:
        return ""
    return table("The numbers above", ["no.", "timestep", "what"], rows, (0, 1)) + (
        note(f"{left} more are left out.") if left else ""
    )


def _speed(history: RunHistory) -> str:
    if history.fps is None:
        return ""
    line = Line("time/fps", history.fps.timesteps, history.fps.values)
    return "<h3>Speed</h3>" + chart("Timesteps a second", [line])


def _segments(history: RunHistory) -> str:
    rows = [
        (
            each.number,
            each.mode,
            f"{each.from_timesteps:,}",
            "?" if each.to_timesteps is None else f"{each.to_timesteps:,}",
            each.cause,
            moment(each.start),
            each.host,
        )
        for each in history.segments
    ]
    return table("Process lifetimes", ["no.", "mode", "from", "to", "ended by", "start", "host"], rows, (0, 2, 3))


def _tested(history: RunHistory) -> str:
    if not history.tested:
        return ""
    rows = []
    for each in history.tested[-_MOST_EVALUATIONS:]:
        actions = "most likely" if each.deterministic else "drawn"
        success = None if each.success is None else f"{each.success:.0%}"
        row = [f"{each.timesteps:,}", each.checkpoint, each.level, each.episodes, actions]
        rows.append([*row, *map(number, each.metrics), success, moment(each.created)])
    titles = ["timestep", "checkpoint", "level", "episodes", "actions", "mean", "std", "min", "max", "length"]
    return "<h3>Tests</h3>" + table("Checkpoints tested", [*titles, "success", "when"], rows, (0, 3, 5, 6, 7, 8, 9, 10))


def _evaluations(evaluations: Evaluations) -> str:
    count = len(evaluations.timesteps)
    if not count:
        return ""
    successes, lengths = (
        means_of(each) if each.shape[1] else None for each in (evaluations.successes, evaluations.lengths)
    )
    means = evaluations.means
    rows = []
    for i in range(max(count - _MOST_EVALUATIONS, 0), count):
        returns = evaluations.results[i][np.isfinite(evaluations.results[i])]
        row = [f"{evaluations.timesteps[i]:,.0f}", number(float(means[i]))]
        row += (
            [number(float(value)) for value in (returns.std(), returns.min(), returns.max())]
            if len(returns)
            else ["-"] * 3
        )
        row.append(None if lengths is None else number(float(lengths[i])))
        row.append(None if successes is None else f"{successes[i]:.0%}")
        rows.append(row)
    titles = ["timestep", "mean", "std", "min", "max", "length", "success"]
    shown = f"the last {_MOST_EVALUATIONS} of {count}" if count > _MOST_EVALUATIONS else str(count)
    return folded(f"Evaluations ({shown})", table("Evaluations", titles, rows, range(7)))


def _settings(history: RunHistory) -> str:
    if not history.settings:
        return note("The run keeps no config.yaml that can be read.")
    return folded(f"Settings ({len(history.settings)})", table("Settings", ["key", "value"], history.settings.items()))
