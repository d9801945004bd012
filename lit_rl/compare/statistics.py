"""Several seeds as one number or one curve: the interquartile mean and its bootstrap confidence interval.

Both are those of Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(rliable's `aggregate_iqm` and percentile bootstrap), for the runs of one task.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lit_rl.compare.history import RunHistory

RESAMPLES = 2000
CONFIDENCE = 0.95
POINTS = 100
_SEED = 0
"""Of the resampling: the same runs give the same report."""


@dataclass(frozen=True)
class Interval:
    """An interquartile mean with the ends of its confidence interval; scalars, or [T] along a curve."""

    iqm: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Group:
    """Runs of one environment that differ in their seed alone, as far as their names or algorithms say.

    Args:
        label: what they are called.
        env: their environment.
        runs: those with a curve.
        source: `evaluation` or `training`: what returns are compared.
        timesteps: [T], over the span that all curves have.
        curve: over the runs, at `timesteps`.
        final: over the last return of each run, and `best` over the greatest.
    """

    label: str
    env: str
    runs: list[RunHistory]
    source: str
    timesteps: np.ndarray
    curve: Interval
    final: Interval
    best: Interval


def iqm(scores: np.ndarray) -> np.ndarray:
    """Mean of what is left of [N, ...] along the first axis without the lowest and the highest quarter.

    As `scipy.stats.trim_mean(scores, 0.25)`: of each end, N/4 rounded down are left out, so of three none.
    """
    cut = int(len(scores) * 0.25)
    ordered = np.sort(scores, axis=0)
    kept: np.ndarray = ordered[cut : len(scores) - cut].mean(axis=0)
    return kept


def interval(scores: np.ndarray) -> Interval:
    """The interquartile mean of [N, ...] over N runs; its interval from runs drawn again with replacement."""
    rng = np.random.default_rng(_SEED)
    drawn = rng.integers(len(scores), size=(RESAMPLES, len(scores)))
    means = np.stack([iqm(scores[rows]) for rows in drawn])
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return Interval(iqm(scores), low, high)


def groups_of(histories: Sequence[RunHistory], by: str) -> list[Group]:
    """Runs with a curve, grouped by environment and by `name` (`x_seed_1` belongs to `x`) or `algorithm`."""
    found: dict[tuple[str, str], list[RunHistory]] = {}
    for each in histories:
        if each.points("training") or each.points("evaluation"):
            record = each.record
            label = (record.algorithm or "?") if by == "algorithm" else _base_name(record.name, record.seed)
            found.setdefault((record.env or "?", label), []).append(each)
    sources = {
        env: "evaluation"
        if all(each.points("evaluation") for key in found if key[0] == env for each in found[key])
        else "training"
        for env, _ in found
    }
    groups = [_group(label, env, runs, sources[env]) for (env, label), runs in found.items()]
    return [group for group in groups if group is not None]


def _base_name(name: str, seed: int | None) -> str:
    return re.sub(rf"_seed_{seed}$", "", name) or name


def _group(label: str, env: str, runs: list[RunHistory], source: str) -> Group | None:
    curves = [curve for each in runs if (curve := each.points(source)) is not None]
    if not curves:
        return None
    begin, end = max(curve.timesteps[0] for curve in curves), min(curve.timesteps[-1] for curve in curves)
    timesteps = np.linspace(begin, max(begin, end), POINTS)
    scores = np.stack([np.interp(timesteps, curve.timesteps, curve.values) for curve in curves])
    final = np.array([curve.values[-1] for curve in curves])
    best = np.array([curve.values.max() for curve in curves])
    with_curve = [each for each in runs if each.points(source) is not None]
    return Group(label, env, with_curve, source, timesteps, interval(scores), interval(final), interval(best))
