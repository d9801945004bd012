"""Log files that a resumed run goes on with: nothing lost, nothing twice.

Each logger can say where it stands (`position`, kept in the checkpoint) and go back there (`cut_to`): what a killed
process wrote after its last checkpoint is cut, for the resumed run writes it again.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import _DummyExperiment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from tensorboard.compat.proto.summary_pb2 import Summary

from lit_rl.checkpoint.files import append, put
from lit_rl.errors import StorageError
from lit_rl.run.directory import event_files
from lit_rl.run.events import Events


@contextlib.contextmanager
def _first_error_only(status: str) -> Iterator[None]:
    """At the end of a run that failed, what the disk says now must not hide why it failed."""
    try:
        yield
    except (OSError, StorageError):
        if status != "failed":
            raise


class MetricsCsv(Logger):
    """``metrics.csv``: one line an iteration, the timestep first, then the metrics by name.

    Args:
        directory: the run directory.
        writes: whether this process is the one that writes it.
    """

    def __init__(self, directory: Path, writes: bool = True) -> None:
        super().__init__()
        self._writes = writes
        self._file = directory / "metrics.csv"
        self._directory = directory
        self._columns: list[str] = []
        self._rows = 0
        self._pending: list[dict[str, Any]] = []
        self._settled = 0

    @property
    def name(self) -> str:
        return self._directory.parent.name

    @property
    def version(self) -> str:
        return self._directory.name

    @property
    def save_dir(self) -> str:
        return str(self._directory)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Hyperparameters stand in config.yaml."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if not self._writes:
            return
        if len(self._pending) > self._settled and self._pending[-1]["step"] == step:
            self._pending[-1] |= metrics  # what a callback says of the same iteration
        else:
            self._pending.append({"step": step, **metrics})

    def settle(self) -> None:
        """The iteration that rows were logged in has ended: they are lines of the run."""
        self._settled = len(self._pending)
        if self._settled >= 50:
            self.save()

    def save(self) -> None:
        """Write rows of iterations that have ended. A new metric becomes a new column, empty in the lines before."""
        rows = self._pending[: self._settled]
        if not rows:
            return
        new = [key for row in rows for key in row if key not in self._columns]
        if new:
            self._columns += list(dict.fromkeys(new))
            self._rewrite(self._read())
        text = io.StringIO()
        csv.DictWriter(text, self._columns, restval="", lineterminator="\n").writerows(rows)
        append(self._file, text.getvalue().encode())
        self._rows += len(rows)
        self._pending, self._settled = self._pending[self._settled :], 0

    def position(self) -> dict[str, Any]:
        """Lines and columns written so far."""
        return {"rows": self._rows, "columns": list(self._columns)}

    def cut_to(self, position: dict[str, Any]) -> str | None:
        """Keep the lines and columns of `position` only. Returns what is missing, if something is."""
        self._columns = list(position["columns"])
        kept = self._read()[: position["rows"]]
        self._rows = len(kept)
        if self._columns:
            self._rewrite(kept)
        else:
            self._file.unlink(missing_ok=True)
        gone = position["rows"] - len(kept)
        return f"metrics.csv: {gone} of {position['rows']} lines are gone" if gone else None

    def files(self) -> list[Path]:
        return [self._file]

    def begin_anew(self) -> None:
        """There is no file any more."""
        self._columns, self._rows = [], 0

    def finalize(self, status: str) -> None:
        if status != "failed":  # else its iteration is none of the run's
            self._settled = len(self._pending)
        with _first_error_only(status):
            self.save()

    def _read(self) -> list[dict[str, str]]:
        if not self._file.exists():
            return []
        with open(self._file, newline="") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        put(self._file, text.getvalue().encode())


class RunTensorBoard(TensorBoardLogger):
    """TensorBoard event files in the run directory, one more for every segment.

    Event files are only ever appended to, so a cut at a length they once had leaves whole records. `experiment` is
    PyTorch's SummaryWriter.

    Args:
        directory: the run directory.
        writes: whether this process is the one that writes them.
    """

    def __init__(self, directory: Path, writes: bool = True) -> None:
        super().__init__(save_dir=directory.parent.parent, name=directory.parent.name, version=directory.name)
        self._run_directory, self._writes = directory, writes
        self._pending: list[tuple[Summary, int | None]] = []

    @property
    def experiment(self) -> Any:
        """The writer. Lightning's own property asks variables of the environment whether this process is the first."""
        if not self._writes:
            return _DummyExperiment()
        self._experiment: Any = self._experiment or Events(self._run_directory)
        return self._experiment

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """All of them in one event."""
        if not self._writes:
            return
        values = [Summary.Value(tag=key, simple_value=float(value)) for key, value in metrics.items()]
        self._pending.append((Summary(value=values), step))

    def settle(self) -> None:
        """The iteration that rows were logged in has ended: they are events of the run."""
        for summary, step in self._pending:
            self.experiment.add_summary(summary, step)
        self._pending = []

    def save(self) -> None:
        """Flush; hyperparameters stand in config.yaml, not in a file of their own."""
        if self._experiment is not None:
            self.experiment.flush()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Hyperparameters stand in config.yaml."""

    def finalize(self, status: str) -> None:
        with _first_error_only(status):
            if status != "failed":
                self.settle()
            self.save()

    def files(self) -> list[Path]:
        return event_files(self._run_directory)

    def begin_anew(self) -> None:
        """There are no files any more."""

    def position(self) -> dict[str, Any]:
        """Length of every event file, in bytes."""
        return {file.name: file.stat().st_size for file in self.files()}

    def cut_to(self, position: dict[str, Any]) -> str | None:
        """Cut event files to the lengths of `position`, and delete those begun since. Returns what is missing."""
        own = None if self._experiment is None else self._experiment.file
        for file in self.files():
            if file == own:
                continue  # begun by a callback that came first
            if file.name in position:
                os.truncate(file, min(position[file.name], file.stat().st_size))
            else:
                file.unlink()
        shorter = [name for name, size in position.items() if _size(self._run_directory / name) < size]
        return f"TensorBoard's events are not complete: {', '.join(shorter)}" if shorter else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
