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
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lit_rl.checkpoint.files import named, write_durably
from lit_rl.checkpoint.manifest import ROWS_SUFFIX, Checkpoint, FileEntry
from lit_rl.errors import DataError
from lit_rl.state.stored import Stored
from lit_rl.untrusted.columns import pack_columns, unpack_columns


class RowFiles:
    """Writes the files of rows of one checkpoint after another.

    Args:
        base: the checkpoint that the run goes on from.
    """

    def __init__(self, base: Checkpoint | None = None) -> None:
        self.base = base
        """The newest checkpoint of this history, whose files can be shared."""
        self.entries: dict[str, FileEntry] = {}
        """What lies in the checkpoint that is being written."""
        self.new: set[str] = set()
        """Names of those that were written for it."""
        self.copies: str | None = None
        """What the file system says to a hard link, where it has none."""

    def begin(self) -> None:
        """Another checkpoint is being written."""
        self.entries, self.new = {}, set()

    def write(self, staging: Path, rank: int, name: str, part: Stored) -> list[str]:
        """Put the files of one part into a staging directory; returns their names, oldest rows first.

        Raises:
            StorageError: the disk said no.
        """
        names = []
        for piece in part.pieces():
            file = f"{name}_{rank:05d}_{piece.name}{ROWS_SUFFIX}"
            names.append(file)
            if piece.complete and self._share(staging / file):
                continue
            data = pack_columns(piece.begin, piece.end, piece.columns())
            write_durably(staging / file, data)
            self.entries[file] = FileEntry(len(data), hashlib.sha256(data).hexdigest())
            self.new.add(file)
        return names

    def _share(self, path: Path) -> bool:
        entry = None if self.base is None else self.base.manifest.files.get(path.name)
        if self.base is None or entry is None:
            return False
        old = self.base.path / path.name
        if not old.is_file() or old.stat().st_size != entry.size:
            return False  # somebody has been at it; the rows are all here
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
        return True


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
