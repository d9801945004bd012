"""A checkpoint is opened: every file is checked against the manifest first, and no code is run."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lit_rl.checkpoint.manifest import (
    LIGHTNING_FILE,
    MANIFEST,
    ROWS_SUFFIX,
    Checkpoint,
    FileEntry,
    missing_files,
    rank_file,
    read_checkpoint,
    read_file,
)
from lit_rl.checkpoint.rows import all_mapped, each_once, mapped, rows_in
from lit_rl.errors import ConfigError, DataError
from lit_rl.untrusted.tensors import NumpyValues, load_tensors


def loads(data: bytes, path: Path, checksums: bool = False) -> Any:
    """The inverse of `dumps`; runs no code, whatever the bytes are. `checksums`: check those of the zip too."""
    try:
        state = load_tensors(data, path.name, checksums)
        if isinstance(state, NumpyValues):
            raise DataError(f"{path.name}: holds NumPy values ({', '.join(state.names)}).")
        return state
    except DataError as error:
        raise DataError(f"{path} cannot be opened as tensors and plain values: {error}") from None


@dataclass(frozen=True)
class Opened(Checkpoint):
    """A checkpoint whose every file was read and found right; what is loaded from it are the bytes that were read.

    Each file is held until it is loaded, once. What is held does not travel to another process: that one reads the
    files it needs itself, against the manifest that was read here.

    Args:
        held: bytes by file name; those of rows lie on the disk until they are loaded.
        parsed: what has been looked at already, in place of its bytes.
    """

    held: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    parsed: dict[str, dict[str, Any]] = field(default_factory=dict, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "held": {}, "parsed": {}}

    def look(self, name: str) -> dict[str, Any]:
        """The state in a file, which whoever loads it next is given; only for reading."""
        if name not in self.parsed:
            self.parsed[name] = open_file(self, name)
        return self.parsed[name]

    def take(self, name: str) -> dict[str, Any] | None:
        """The state in a file, if it is still held; not held any more then, so that it may be changed."""
        if name in self.parsed:
            return self.parsed.pop(name)
        data = self.held.pop(name, None)
        return None if data is None else loads(data, self.path / name)

    def release(self) -> None:
        """Let go of what nobody has loaded."""
        self.held.clear()
        self.parsed.clear()


def verify(where: Path | Checkpoint) -> Opened:
    """Check every file of a checkpoint against its manifest, and hold what was read.

    Args:
        where: its directory, or the checkpoint by a manifest that has been read.

    Raises:
        DataError: a file is missing, has another size or another digest; names it.
    """
    checkpoint = read_checkpoint(where) if isinstance(where, Path) else where
    path, manifest = checkpoint.path, checkpoint.manifest
    missing = missing_files(manifest)
    if missing:
        raise DataError(f"{path} does not list {', '.join(missing)}.")
    _refuse_outside(path, manifest.files)
    rows = {name: entry for name, entry in manifest.files.items() if name.endswith(ROWS_SUFFIX)}
    held: dict[str, Any] = {
        name: read_verified(path, name, entry) for name, entry in manifest.files.items() if name not in rows
    }
    held |= all_mapped(path, rows) if rows else {}
    return Opened(path, manifest, checkpoint.digest, held)


def read_back(checkpoint: Checkpoint, new: Container[str] | None = None) -> None:
    """Open the files of a checkpoint the way a resume does.

    Args:
        checkpoint: that has just been written.
        new: files of rows that were written for it; others are shared with a checkpoint that has been read back, and
            only have to be there.

    Raises:
        DataError: one is damaged, or cannot be opened.
    """
    read_checkpoint(checkpoint.path)
    for name, entry in checkpoint.manifest.files.items():
        if new is None or not name.endswith(ROWS_SUFFIX) or name in new:
            open_file(checkpoint, name)
        elif not (checkpoint.path / name).is_file() or (checkpoint.path / name).stat().st_size != entry.size:
            raise DataError(f"{checkpoint.path / name} is not the file that it shares.")


def _refuse_outside(path: Path, names: Iterable[str]) -> None:
    for name in names:
        if Path(name).name != name:
            raise DataError(f"{path / MANIFEST} names a file outside the checkpoint: {name!r}.")


def _checked(path: Path, name: str, entry: FileEntry) -> Any:
    _refuse_outside(path, [name])
    return (mapped if name.endswith(ROWS_SUFFIX) else read_verified)(path, name, entry)


def read_verified(path: Path, name: str, entry: FileEntry) -> bytes:
    """A file's bytes, after size and digest have been found right."""
    file = path / name
    try:
        size = file.stat().st_size
        if size != entry.size:
            raise DataError(f"{file} has {size} bytes, its manifest says {entry.size}: damaged.")
        data = read_file(file, entry.size)
    except FileNotFoundError:
        raise DataError(f"{file} is missing.") from None
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}.") from None
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise DataError(f"digest mismatch in {file}: damaged.")
    return data


def load_lightning(checkpoint: Checkpoint) -> dict[str, Any]:
    """Lightning's dictionary with ours inside, checked."""
    return open_file(checkpoint, LIGHTNING_FILE)


def load_rank(checkpoint: Checkpoint, rank: int) -> dict[str, Any]:
    """A rank's own state, checked. A part whose rows lie in files has them in `pieces`: begin, end, columns of each."""
    return with_rows(checkpoint, open_file(checkpoint, rank_file(rank)))


def with_rows(checkpoint: Checkpoint, state: dict[str, Any]) -> dict[str, Any]:
    """A rank's own state, once its file has been read, with what lies in files of rows."""
    for name, part in state.items():
        if isinstance(part, dict) and {"files", "begin", "end"} <= part.keys():
            missing = [file for file in part["files"] if file not in checkpoint.manifest.files]
            if missing:
                raise DataError(f"{checkpoint.path / MANIFEST} does not list {missing[0]}: damaged.")
            files = (open_rows(checkpoint, file) for file in part["files"])
            part["pieces"] = each_once(files, part["begin"], part["end"], f"the {name} in {checkpoint.path}")
    return state


def open_rows(checkpoint: Checkpoint, name: str) -> tuple[int, int, dict[str, np.ndarray]]:
    """Begin, end and columns of one file of rows, checked. The columns are views of the file."""
    held = checkpoint.held.pop(name, None) if isinstance(checkpoint, Opened) else None
    data = _checked(checkpoint.path, name, checkpoint.manifest.files[name]) if held is None else held
    return rows_in(data, checkpoint.path / name)


def open_file(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """The state in one file of the manifest, checked: in the bytes that are held, or as it is read now."""
    if name.endswith(ROWS_SUFFIX):
        return open_rows(checkpoint, name)[2]
    state = checkpoint.take(name) if isinstance(checkpoint, Opened) else None
    if state is None:
        data = _checked(checkpoint.path, name, checkpoint.manifest.files[name])
        state = loads(data, checkpoint.path / name)
    return state


def local_path(path: Any) -> Path:
    """A path on this machine.

    Raises:
        ConfigError: it is an address, or nothing is there.
    """
    if "://" in str(path):
        raise ConfigError(f"'{path}' is a remote address; copy it to a local directory first.")
    if not Path(path).exists():
        raise ConfigError(f"'{path}' is not there.")
    return Path(path)


def read_lightning(path: Path) -> tuple[dict[str, Any], bytes]:
    """Lightning's dictionary in a `.ckpt` file, and the bytes it was read from, once; no code is run.

    One that lies in a checkpoint directory is checked against its manifest; a single file has checksums, and no digest.

    Raises:
        DataError: it is damaged, or is none.
    """
    digested = path.name == LIGHTNING_FILE and (path.parent / MANIFEST).exists()
    if digested:
        entry = read_checkpoint(path.parent).manifest.files.get(path.name)
        if entry is None:
            raise DataError(f"{path.parent / MANIFEST} does not list {path.name}.")
        data = read_verified(path.parent, path.name, entry)
    elif not path.is_file():
        raise DataError(f"{path} is not there.")
    else:
        data = path.read_bytes()
    state = loads(data, path, checksums=not digested)
    if not isinstance(state, dict) or "state_dict" not in state:
        raise DataError(f"{path} is not a Lightning checkpoint: it has no 'state_dict'.")
    return state, data


def load_bare(path: Path) -> dict[str, Any]:
    """Lightning's dictionary in a `.ckpt` file; see `read_lightning`."""
    return read_lightning(path)[0]
