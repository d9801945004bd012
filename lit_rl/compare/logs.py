"""What a run has logged, read without torch: columns of ``metrics.csv``, and ``evaluations.npz``."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lit_rl.errors import DataError

METRICS = "metrics.csv"
EVALUATIONS = "evaluations.npz"
RETURN = "rollout/ep_rew_mean"
LEVEL = "curriculum/level"
FPS = "time/fps"
STEP = "step"


@dataclass(frozen=True)
class Evaluations:
    """K evaluations of up to E episodes.

    Args:
        timesteps: [K].
        results: returns [K, E], NaN where an evaluation had fewer.
        lengths: [K, E], or empty.
        successes: [K, E], or empty where the environment does not say.
    """

    timesteps: np.ndarray = field(default_factory=lambda: np.zeros(0))
    results: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    lengths: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    successes: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def means(self) -> np.ndarray:
        """Mean return [K]."""
        return means_of(self.results)


def means_of(rows: np.ndarray) -> np.ndarray:
    """Mean of each row without its NaN; NaN for a row that has nothing else."""
    counts = (~np.isnan(rows)).sum(axis=1)
    return np.where(counts > 0, np.nansum(rows, axis=1) / np.maximum(counts, 1), np.nan)


def read_columns(directory: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Columns of ``metrics.csv`` as float64, one entry a line that has a timestep; NaN where a line is empty.

    Every name asked for is there; all are empty where nothing was logged yet. A line that is cut off, as while a run
    writes it, is left out.

    Raises:
        DataError: the file cannot be read.
    """
    names = [STEP, *names]
    rows: list[list[float]] = []
    header: list[str] = []
    for line in read_rows(directory):
        if not header:
            header = line
            places = [header.index(name) if name in header else None for name in names]
        elif len(line) == len(header):
            row = [np.nan if place is None else _number(line[place]) for place in places]
            if np.isfinite(row[0]):
                rows.append(row)
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
    return {name: table[:, i] for i, name in enumerate(names)}


def read_rows(directory: Path) -> list[list[str]]:
    """The lines of ``metrics.csv``, the header first; empty where there is no file yet.

    Raises:
        DataError: the file cannot be read.
    """
    file = directory / METRICS
    try:
        with open(file, newline="", encoding="utf-8") as opened:
            return list(csv.reader(opened))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}.") from None
    except (csv.Error, ValueError) as error:
        raise DataError(f"{file} is damaged: {error}.") from None


def read_evaluations(directory: Path) -> Evaluations:
    """What ``evaluations.npz`` holds; nothing where there is no such file.

    Raises:
        DataError: the file is damaged.
    """
    file = directory / EVALUATIONS
    try:
        with np.load(file, allow_pickle=False) as stored:
            timesteps = np.asarray(stored["timesteps"], dtype=np.float64)
            count = len(timesteps)
            parts = {
                name: _matrix(stored[name], count) if name in stored.files else np.zeros((count, 0))
                for name in ("results", "ep_lengths", "successes")
            }
    except FileNotFoundError:
        return Evaluations()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or 'damaged'}.") from None
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, NotImplementedError, MemoryError) as error:
        raise DataError(f"{file} is damaged: {' '.join(str(error).split())[:120]}.") from None
    return Evaluations(timesteps, parts["results"], parts["ep_lengths"], parts["successes"])


def _matrix(rows: np.ndarray, count: int) -> np.ndarray:
    table = np.asarray(rows, dtype=np.float64)
    if table.ndim != 2 or len(table) != count:
        raise ValueError(f"an array has the shape {table.shape}, and there are {count} evaluations")
    return table


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
