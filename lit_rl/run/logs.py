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

from lit_rl.checkpoint.files import append, named
from lit_rl.errors import StorageError
from lit_rl.run.directory import event_files


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
        self._pending.append({"step": step, **metrics})
        if len(self._pending) >= 50:
            self.save()

    def save(self) -> None:
        """Write what is pending. A new metric becomes a new column, empty in the lines before."""
        if not self._pending:
            return
        new = [key for row in self._pending for key in row if key not in self._columns]
        if new:
            self._columns += list(dict.fromkeys(new))
            self._rewrite(self._read())
        text = io.StringIO()
        csv.DictWriter(text, self._columns, restval="", lineterminator="\n").writerows(self._pending)
        append(self._file, text.getvalue())
        self._rows += len(self._pending)
        self._pending = []

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
        with _first_error_only(status):
            self.save()

    def _read(self) -> list[dict[str, str]]:
        if not self._file.exists():
            return []
        with open(self._file, newline="") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        staged = self._file.with_name(".metrics.csv")
        with named(self._file), open(staged, "w") as file:
            writer = csv.DictWriter(file, self._columns, restval="", extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        with named(self._file):
            os.replace(staged, self._file)


class RunTensorBoard(TensorBoardLogger):
    """TensorBoard event files in the run directory, one more for every segment.

    Event files are only ever appended to, so a cut at a length they once had leaves whole records.

    Args:
        directory: the run directory.
        writes: whether this process is the one that writes them.
    """

    def __init__(self, directory: Path, writes: bool = True) -> None:
        super().__init__(save_dir=directory.parent.parent, name=directory.parent.name, version=directory.name)
        self._run_directory, self._writes = directory, writes

    @property
    def experiment(self) -> Any:
        """The writer. Lightning's own property asks variables of the environment whether this process is the first."""
        if not self._writes:
            return _DummyExperiment()
        if self._experiment is None:
            from torch.utils.tensorboard import SummaryWriter

            self._experiment = SummaryWriter(log_dir=self.log_dir)
        return self._experiment

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """All of them in one event: an event each would fill the writer's queue and wait for its thread."""
        if not self._writes:
            return
        values = [Summary.Value(tag=key, simple_value=float(value)) for key, value in metrics.items()]
        with named(self._run_directory):
            self.experiment._get_file_writer().add_summary(Summary(value=values), step)

    def save(self) -> None:
        """Flush; hyperparameters stand in config.yaml, not in a file of their own."""
        if self._experiment is not None:
            self.experiment.flush()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Hyperparameters stand in config.yaml."""

    def finalize(self, status: str) -> None:
        with _first_error_only(status):
            if self._experiment is not None:
                self.experiment.flush()
                self.experiment.close()

    def files(self) -> list[Path]:
        return event_files(self._run_directory)

    def begin_anew(self) -> None:
        """There are no files any more."""

    def position(self) -> dict[str, Any]:
        """Length of every event file, in bytes."""
        return {file.name: file.stat().st_size for file in self.files()}

    def cut_to(self, position: dict[str, Any]) -> str | None:
        """Cut event files to the lengths of `position`, and delete those begun since. Returns what is missing."""
        for file in self.files():
            if file.name in position:
                os.truncate(file, min(position[file.name], file.stat().st_size))
            else:
                file.unlink()
        shorter = [name for name, size in position.items() if _size(self._run_directory / name) < size]
        return f"TensorBoard's events are not complete: {', '.join(shorter)}" if shorter else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
