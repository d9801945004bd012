"""Files of rows in a checkpoint: what is complete is written once, and shared with later checkpoints by hard links.

Each checkpoint directory holds every file that it needs: it can be moved, copied and deleted by itself. Where the file
system has no hard links, files are copied.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lit_rl.checkpoint.files import named, write_durably
from lit_rl.checkpoint.manifest import ROWS_SUFFIX, Checkpoint, FileEntry
from lit_rl.errors import DataError
from lit_rl.state.stored import Piece, Stored
from lit_rl.untrusted.columns import pack_columns, unpack_columns

HELD_BYTES = 1 << 28
"""So much of a part's new rows is held in memory while it is written beside training, about."""


@dataclass
class RowFile:
    """A file of rows of a checkpoint that is about to be written.

    Args:
        name: of the file.
        piece: its rows, which training may change.
        shared: what the newest checkpoint says of the same file, where it has it.
        held: its content as of the moment of the checkpoint.
    """

    name: str
    piece: Piece
    shared: FileEntry | None = None
    held: bytes | None = None

    @property
    def is_captured(self) -> bool:
        """Whether training changes nothing of what will be written."""
        return self.shared is not None or self.held is not None

    def content(self) -> bytes:
        """What is written: held, or packed from the rows as they are now."""
        if self.held is not None:
            return self.held
        return pack_columns(self.piece.begin, self.piece.end, self.piece.columns())


class RowFiles:
    """Captures and writes the files of rows of one checkpoint after another.

    Args:
        base: the checkpoint that the run goes on from.
    """

    def __init__(self, base: Checkpoint | None = None) -> None:
        self.base = base
        """The newest checkpoint of this history, whose files can be shared."""
        self.entries: dict[str, FileEntry] = {}
        """What lies in the checkpoint that was written last, or is being written."""
        self.new: set[str] = set()
        """Names of those that were written for it."""
        self.copies: str | None = None
        """What the file system says to a hard link, where it has none."""

    def capture(self, rank: int, name: str, part: Stored) -> list[RowFile]:
        """The files of one part at this moment, oldest rows first.

        What the newest checkpoint lacks is held, up to `HELD_BYTES`. What is more is read when it is written, which has
        to be before training goes on.
        """
        files, room = [], HELD_BYTES
        for piece in part.pieces():
            file = RowFile(f"{name}_{rank:05d}_{piece.name}{ROWS_SUFFIX}", piece)
            file.shared = self._entry_of(file.name) if piece.complete else None
            if file.shared is None and room > 0:
                file.held = file.content()
                room -= len(file.held)
            files.append(file)
        return files

    def _entry_of(self, name: str) -> FileEntry | None:
        """What the newest checkpoint says of a file that lies there and is as long as it was."""
        if self.base is None or (entry := self.base.manifest.files.get(name)) is None:
            return None
        file = self.base.path / name
        return entry if file.is_file() and file.stat().st_size == entry.size else None

    def write(self, staging: Path, files: Iterable[RowFile]) -> None:
        """Put files into a staging directory.

        Raises:
            StorageError: the disk said no.
        """
        self.entries, self.new = {}, set()
        for file in files:
            if file.shared is not None:
                self._share(staging / file.name, file.shared)
                continue
            data = file.content()
            write_durably(staging / file.name, data)
            self.entries[file.name] = FileEntry(len(data), hashlib.sha256(data).hexdigest())
            self.new.add(file.name)

    def _share(self, path: Path, entry: FileEntry) -> None:
        assert self.base is not None
        old = self.base.path / path.name
        try:
            os.link(old, path)
        except OSError as error:
            self.copies = self.copies or error.strerror or str(error)
            with named(path, entry.size):
                shutil.copyfile(old, path)
                with open(path, "rb") as copy:
                    os.fsync(copy.fileno())
            self.new.add(path.name)
        self.entries[path.name] = entry


def mapped(path: Path, name: str, entry: FileEntry) -> Any:
    """A file's bytes as they lie on the disk, after size and digest have been found right. They take no memory.

    Raises:
        DataError: it is missing or damaged.
    """
    file = path / name
    try:
        with open(file, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            if size != entry.size or size == 0:
                raise DataError(f"{file} has {size} bytes, its manifest says {entry.size}: damaged.")
            data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise DataError(f"{file} is missing.") from None
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}.") from None
    with contextlib.suppress(OSError, AttributeError):
        data.madvise(mmap.MADV_SEQUENTIAL)
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise DataError(f"digest mismatch in {file}: damaged.")
    return data


def all_mapped(path: Path, entries: Mapping[str, FileEntry]) -> dict[str, Any]:
    """`mapped` for many files, on all cores: working out digests is what takes time.

    Raises:
        DataError: as `mapped`, for the first that is not right.
    """
    with ThreadPoolExecutor(min(len(os.sched_getaffinity(0)), 8)) as pool:
        return dict(zip(entries, pool.map(lambda name: mapped(path, name, entries[name]), entries), strict=True))


def rows_in(data: Any, file: Path) -> tuple[int, int, dict[str, np.ndarray]]:
    """Begin, end and columns of a file of rows.

    Raises:
        DataError: it is none; names it.
    """
    try:
        return unpack_columns(data)
    except DataError as error:
        raise DataError(f"{file} {error}") from None


def each_once(files: Iterator[tuple[int, int, dict[str, np.ndarray]]], begin: int, end: int, of: str) -> Any:
    """Files of rows in their order; they must hold every row from `begin` to `end`, without a gap.

    Raises:
        DataError: they do not.
    """
    at = begin
    for first, last, columns in files:
        if not first <= at < last <= end or any(
            len(array) != last - first for name, array in columns.items() if not name.startswith("final")
        ):
            raise DataError(f"{of}: its rows {first} to {last} do not follow on {at}: damaged.")
        at = last
        yield first, last, columns
    if at != end:
        raise DataError(f"{of}: its rows end at {at}, not at {end}: damaged.")
