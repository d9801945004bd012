"""TensorBoard's event files, written by the thread that logs: what the disk says is told there, as of any log.

TensorBoard's own writer is a thread of its own, whose errors come later, again and again, or never.
"""

from __future__ import annotations

import io
import itertools
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.writer import FileWriter, SummaryWriter

from lit_rl.checkpoint.files import append

_EVERY_S = 30.0
_BYTES = 1 << 16
"""Events wait in memory for so long, or until there is so much of them."""
_number = itertools.count()


class EventFile:
    """One file of events, each a record with its checksums; only ever appended to, by whole records.

    Args:
        directory: the run directory.
    """

    def __init__(self, directory: Path) -> None:
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_number)}"
        self.path = directory / name
        self._pending, self._lock = io.BytesIO(), threading.RLock()
        self._records, self._flushed = RecordWriter(self._pending), time.monotonic()
        source = SourceMetadata(writer="lit_rl.run.events")
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2", source_metadata=source))
        self.flush()

    def get_logdir(self) -> str:
        return str(self.path.parent)

    def add_event(self, event: Any) -> None:
        with self._lock:
            self._records.write(event.SerializeToString())
            if time.monotonic() - self._flushed > _EVERY_S or self._pending.tell() > _BYTES:
                self.flush()

    def flush(self) -> None:
        """Write what is pending.

        Raises:
            StorageError: the disk said no; it is still pending.
        """
        with self._lock:
            self._flushed = time.monotonic()
            if self._pending.tell():
                append(self.path, self._pending.getvalue())
                self._pending.seek(0)
                self._pending.truncate()

    def close(self) -> None:
        self.flush()

    def reopen(self) -> None:
        """It is opened whenever it is written."""


class _FileWriter(FileWriter):
    def __init__(self, directory: Path) -> None:
        self.event_writer = EventFile(directory)


class Events(SummaryWriter):
    """What `logger.experiment` is: PyTorch's, on an `EventFile`.

    Args:
        directory: the run directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        super().__init__(log_dir=str(directory))

    def _get_file_writer(self) -> FileWriter:
        files: Any = self
        if files.all_writers is None or files.file_writer is None:
            files.file_writer = _FileWriter(self._directory)
            files.all_writers = {files.file_writer.get_logdir(): files.file_writer}
        writer: FileWriter = files.file_writer
        return writer

    def add_summary(self, summary: Any, step: int | None) -> None:
        """Add values as one event."""
        self._get_file_writer().add_summary(summary, step)

    @property
    def file(self) -> Path:
        """Where they lie."""
        path: Path = self._get_file_writer().event_writer.path
        return path
