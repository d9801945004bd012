"""Writing files so that they are there, whole, or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lit_rl.errors import StorageError


@contextlib.contextmanager
def _named(path: Path, size: int | None = None) -> Iterator[None]:
    """Turn what the disk says into one line that names the file."""
    try:
        yield
    except OSError as error:
        needed = f", {size:,} bytes needed" if size is not None else ""
        raise StorageError(f"cannot write {path}: {error.strerror or error}{needed}.") from error


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk. Never writes over a file that is there."""
    with _named(path, len(data)), open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Wait until a directory's entries are on the disk."""
    with _named(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace_durably(path: Path, data: bytes) -> None:
    """Put a new content in a file's place: readers see the old one or the new one, also after a crash."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    with _named(staged):
        staged.unlink(missing_ok=True)
    write_durably(staged, data)
    with _named(path):
        os.replace(staged, path)
    sync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`replace_durably` for plain values."""
    replace_durably(path, (json.dumps(value, indent=2) + "\n").encode())


def point_link(link: Path, target: str) -> None:
    """Make `link` a relative symbolic link to `target`, replacing what it was."""
    staged = link.with_name(f".{link.name}.{os.getpid()}")
    with _named(link):
        staged.unlink(missing_ok=True)
        os.symlink(target, staged)
        os.replace(staged, link)
