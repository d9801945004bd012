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

_NOT_THERE = (errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
"""What a file system says that does not have what it is asked for."""
_NO_LINKS = (*_NOT_THERE, errno.EPERM, errno.EACCES, errno.EMLINK)

lacking: dict[str, None] = {}
"""What file systems were found to lack, for the run's banner; filled as it is found."""


@contextlib.contextmanager
def named(path: Path, size: int | None = None) -> Iterator[None]:
    """Turn what the disk says into one line that names the file and the bytes it needs."""
    try:
        yield
    except OSError as error:
        needed = f", {size:,} bytes needed" if size is not None else ""
        kind = DiskFull if error.errno in FULL else StorageError
        place = path.resolve() if path == Path() else path
        raise kind(f"cannot write {place}: {error.strerror or error}{needed}.") from error


def write_durably(path: Path, data: bytes, durably: bool = True) -> None:
    """Write a new file and wait until it is on the disk. Never writes over a file that is there."""
    with named(path, len(data)), open(path, "xb") as file:
        file.write(data)
        file.flush()
        if durably:
            sync(file.fileno(), "files")


def sync(descriptor: int, what: str) -> None:
    """Wait until a file or a directory is on the disk, where the file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        lacking[f"this file system does not fsync {what}: a loss of power may take the newest checkpoints"] = None


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
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except PermissionError:  # a directory that may be written and not read
            return
        try:
            sync(descriptor, "directories")
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
    put(path, data, durably=True)
    sync_directory(path.parent)


def put(path: Path, data: bytes, durably: bool = False) -> None:
    """Put a new content in a file's place: readers see the old one or the new one."""
    staged = path.with_name(f".{path.name}.staged")
    try:
        with named(path):
            staged.unlink(missing_ok=True)
        write_durably(staged, data, durably)
        replace(staged, path)
    except StorageError:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)
        raise


def replace(staged: Path, path: Path) -> None:
    """Rename a file over another; where the file system cannot, in two steps."""
    with named(path):
        try:
            os.replace(staged, path)
        except OSError as error:
            if error.errno not in (*_NOT_THERE, errno.EEXIST) or not path.exists():
                raise
            path.unlink()
            os.rename(staged, path)


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
