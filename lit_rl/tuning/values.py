"""What a trial has come to: one metric of a run at its timesteps, read from its logs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lit_rl.compare.logs import STEP, read_columns, read_evaluations
from lit_rl.run.directory import versions_of

OF_EVALUATIONS = "eval/mean_reward"


def read_values(root: Path, name: str, metric: str) -> list[tuple[int, float]]:
    """Timesteps and finite values, in order, of the newest run of a name; empty where there is none yet.

    Mean returns of evaluations come from ``evaluations.npz``, which is written at once, all else from ``metrics.csv``.

    Raises:
        DataError: the file is damaged.
    """
    run = next(iter(versions_of(root, name)), None)
    if run is None:
        return []
    if metric == OF_EVALUATIONS:
        evaluations = read_evaluations(run)
        timesteps, values = evaluations.timesteps, evaluations.means
    else:
        columns = read_columns(run, [metric])
        timesteps, values = columns[STEP], columns[metric]
    known = np.isfinite(values)
    return [(int(step), float(value)) for step, value in zip(timesteps[known], values[known], strict=True)]


def chosen(values: list[tuple[int, float]], which: str, direction: str) -> float | None:
    """The `last` value or the `best`; `None` where there is none."""
    if not values:
        return None
    plain = [value for _, value in values]
    return plain[-1] if which == "last" else max(plain) if direction == "maximize" else min(plain)
