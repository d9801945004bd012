"""A captured state becomes a checkpoint: written, committed, read back, and what is older let go.

Nothing here looks at the run, so that training may go on meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lit_rl.checkpoint.commit import commit, staging_path
from lit_rl.checkpoint.files import memory_named, write_durably
from lit_rl.checkpoint.rows import RowFile, RowFiles
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.errors import DiskFull, LitRLError
from lit_rl.ranks.group import Ranks, caused_by

T = TypeVar("T")


@dataclass(frozen=True)
class Capture:
    """The state of one moment, which lies between two iterations.

    Args:
        fields: of its manifest, except `files`.
        files: content of this rank's files by name, in the order in which they are written.
        rows: its files of rows.
    """

    fields: dict[str, Any]
    files: dict[str, bytes]
    rows: list[RowFile]

    @property
    def is_complete(self) -> bool:
        """Whether training changes nothing of it."""
        return all(file.is_captured for file in self.rows)


class Writer:
    """Writes one checkpoint of a run after another.

    Args:
        store: where checkpoints go.
        row_files: what of the rows earlier checkpoints have already.
    """

    def __init__(self, store: CheckpointStore, row_files: RowFiles) -> None:
        self._store, self._row_files = store, row_files
        self._said_copies = False

    def write(self, capture: Capture, ranks: Ranks) -> None:
        """Make a captured state a checkpoint that is there for good. All ranks call it together.

        Raises:
            StorageError: the disk said no; nothing of the new checkpoint is left, older ones are untouched.
        """
        self.with_room(lambda: self._write(capture, ranks), ranks)

    def with_room(self, work: Callable[[], T], ranks: Ranks) -> T:
        """Do something that writes.

        Where the disk is full, what retention will let go after this save is deleted now, and it is tried once more.
        """
        try:
            return work()
        except LitRLError as error:
            if not caused_by(error, DiskFull):
                raise
            if ranks.is_first:
                gone = self._store.make_room(self._row_files.base)
                _say(f"WARNING: {error} Deleted {', '.join(gone) or 'nothing'} and trying once more.")
            return work()

    def _write(self, capture: Capture, ranks: Ranks) -> None:
        timesteps, segment = capture.fields["timesteps"], capture.fields["segment"]
        place = self._store.place(timesteps, segment)
        try:
            ranks.first(lambda: self._store.stage(timesteps, segment))
            ranks.together(lambda: self._write_files(staging_path(place), capture))
            ranks.first(lambda: self._commit(place, capture))
        except Exception:
            if ranks.is_first:
                self._store.discard(timesteps, segment)
            raise

    def _write_files(self, staging: Path, capture: Capture) -> None:
        """This rank's files, beside those of the others."""
        with memory_named(staging):
            self._row_files.write(staging, capture.rows)
        for name, data in capture.files.items():
            write_durably(staging / name, data)

    def _commit(self, place: Path, capture: Capture) -> None:
        """Make a whole of what all ranks have written."""
        with memory_named(place):
            made = commit(staging_path(place), place, capture.fields, capture.files, self._row_files.entries)
            self._store.accept(made, self._row_files.new)
            self._row_files.base = made
        if self._row_files.copies is not None and not self._said_copies:
            self._said_copies = True
            _say(
                f"WARNING: no hard links in {self._store.directory} ({self._row_files.copies}): every checkpoint "
                "copies all rows of the replay; raise checkpoint.every_timesteps if that takes long."
            )


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # standard output may go to the same disk
        print(line, flush=True)
