"""Writing files so that they are there, whole, or not at all.

A file whose `fsync` failed is never fsynced again: the kernel may have dropped its pages and would say yes. It is
deleted, and written anew under a new inode if at all.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lit_rl.errors import FULL, DiskFull, StorageError, chain

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
"""What file systems without symbolic links say."""


@contextlib.contextmanager
def named(path: Path, size: int | None = None) -> Iterator[None]:
    """Turn what the disk says into one line that names the file and the bytes it needs."""
    try:
        yield
    except OSError as error:
        needed = f", {size:,} bytes needed" if size is not None else ""
        kind = DiskFull if error.errno in FULL else StorageError
        raise kind(f"cannot write {path}: {error.strerror or error}{needed}.") from error


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk. Never writes over a file that is there."""
    with named(path, len(data)), open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def append(path: Path, data: bytes) -> None:
    """Add to a file, all of the data or none of it. Not fsynced."""
    with named(path, len(data)):
        before = path.stat().st_size if path.exists() else 0
        try:
            with open(path, "ab") as file:
                file.write(data)
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(path, before)
            raise


@contextlib.contextmanager
def memory_named(path: Path) -> Iterator[None]:
    """Turn a lack of memory while `path` is made into one line."""
    try:
        yield
    except Exception as error:
        if not _lacks_memory(error):
            raise
        raise StorageError(f"not enough memory to save {path}; older checkpoints are untouched.") from error


def _lacks_memory(error: BaseException | None) -> bool:
    """Whether it began with a lack of memory, which torch says in a way of its own, or hides behind a later error."""
    return any(
        isinstance(each, MemoryError) or (isinstance(each, RuntimeError) and "allocate memory" in str(each))
        for each in chain(error)
    )


def sync_directory(path: Path) -> None:
    """Wait until a directory's entries are on the disk."""
    with named(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a directory and those missing above it, and wait until they are on the disk."""
    for missing in reversed([place for place in (path, *path.parents) if not place.exists()]):
        with named(missing):
            missing.mkdir(exist_ok=True)
        sync_directory(missing.parent)


def replace_durably(path: Path, data: bytes) -> None:
    """Put a new content in a file's place: readers see the old one or the new one, also after a crash."""
    staged = path.with_name(f".{path.name}.staged")
    with named(path):
        staged.unlink(missing_ok=True)
    try:
        write_durably(staged, data)
        with named(path):
            os.replace(staged, path)
    except StorageError:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`replace_durably` for plain values."""
    replace_durably(path, (json.dumps(value, indent=2) + "\n").encode())


def point_link(link: Path, target: str) -> None:
    """Make `link` a relative symbolic link to `target`, replacing what it was.

    Nothing is found by it: where the file system has no links, or a directory stands in its place, there is none.
    """
    staged = link.with_name(f".{link.name}.staged")
    with named(link):
        if (link.is_symlink() and os.readlink(link) == target) or (link.is_dir() and not link.is_symlink()):
            return
        staged.unlink(missing_ok=True)
        try:
            os.symlink(target, staged)
        except OSError as error:
            if error.errno in _NO_LINKS:
                return
            raise
        os.replace(staged, link)
