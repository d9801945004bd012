"""A checkpoint on disk: a directory that exists once its manifest does.

Every file is written to a staging directory beside the target and waited for, the manifest last; then the directory is
renamed. Opening one checks every file against the manifest first, and runs no code.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lit_rl import __version__
from lit_rl.errors import ConfigError, DataError, StorageError
from lit_rl.state.files import named, sync_directory, write_durably
from lit_rl.state.plain import to_plain
from lit_rl.state.tensors import Numbers, load_tensors

FORMAT = 1
MANIFEST = "manifest.json"
LIGHTNING_FILE = "lightning.ckpt"
STAGING_PREFIX = ".staging-"
REASONS = ("promotion", "best", "finish", "stop", "interval", "error")
"""Why a checkpoint is saved; where several hold, the first of them."""

_MANIFEST_BYTES = 1 << 24


def rank_file(rank: int) -> str:
    """Name of a rank's own file."""
    return f"rank_{rank:05d}.pt"


class NewerFormat(DataError):
    """A checkpoint that a later version of lit_rl wrote."""


@dataclass(frozen=True)
class FileEntry:
    """A file of the checkpoint: its size in bytes and its sha256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says of itself. `docs/checkpoint-format.md` describes every field.

    Args:
        format: version of the layout.
        run_id: the run it belongs to.
        segment: which process lifetime of the run wrote it, from 1.
        timesteps: where the run stood.
        iteration: how many iterations it had done.
        world_size: how many ranks wrote it.
        score: by which the best checkpoint is chosen; `None` before an episode has ended.
        created: UTC time, for people; order comes from segment and timesteps.
        versions: of Python and the libraries.
        files: every other file of the directory.
        score_level: the curriculum's level that the score belongs to; a later level's is always better.
        reason: why it was saved, one of `REASONS`; empty where it was not said.
    """

    format: int
    run_id: str
    segment: int
    timesteps: int
    iteration: int
    world_size: int
    score: float | None
    created: str
    versions: dict[str, str]
    files: dict[str, FileEntry]
    score_level: int = 0
    reason: str = ""

    @property
    def order(self) -> tuple[int, int]:
        """Later checkpoints of a run have a greater one."""
        return (self.segment, self.timesteps)


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint: where it lies and what its manifest says."""

    path: Path
    manifest: Manifest

    @property
    def digest(self) -> str:
        """sha256 of the manifest, and through it of everything in the checkpoint."""
        return hashlib.sha256((self.path / MANIFEST).read_bytes()).hexdigest()

    @property
    def lightning_file(self) -> Path:
        return self.path / LIGHTNING_FILE


def library_versions() -> dict[str, str]:
    """Versions that exactness depends on."""
    names = ("lightning", "torch", "gymnasium", "stable-baselines3", "numpy")
    return {
        "python": platform.python_version(),
        "lit-rl": __version__,
        **{name: version(name) for name in names},
    }


def dumps(state: Any) -> bytes:
    """A state as bytes that `loads` opens.

    Raises:
        TypeError: it holds something other than tensors and plain values; names where.
    """
    buffer = io.BytesIO()
    torch.save(to_plain(state), buffer)
    return buffer.getvalue()


def loads(data: bytes, path: Path, checksums: bool = False) -> Any:
    """The inverse of `dumps`; runs no code, whatever the bytes are. `checksums`: check those of the zip too."""
    try:
        state = load_tensors(data, path.name, checksums)
        if isinstance(state, Numbers):
            raise DataError(f"{path.name}: holds NumPy values ({', '.join(state.names)}).")
        return state
    except DataError as error:
        raise DataError(f"{path} cannot be opened as tensors and plain values: {error}") from None


def staging_path(final: Path) -> Path:
    """Where a checkpoint is put together: beside its place, on the same filesystem."""
    return final.with_name(f"{STAGING_PREFIX}{final.name}")


def commit(staging: Path, final: Path, manifest: dict[str, Any], files: dict[str, bytes] | None = None) -> Checkpoint:
    """Make a staged checkpoint real: describe its files in a manifest, and rename it into its place.

    Args:
        staging: a directory with every other file, each written durably.
        final: where it will be; must not exist.
        manifest: the manifest's fields except `files`.
        files: contents that the caller still has, so that they need not be read again.

    Raises:
        StorageError: the disk said no; there is no new checkpoint then.
    """
    entries = {}
    with named(staging):
        for path in sorted(staging.iterdir()):
            data = (files or {}).get(path.name)
            data = path.read_bytes() if data is None else data
            entries[path.name] = FileEntry(len(data), hashlib.sha256(data).hexdigest())
    record = Manifest(**manifest, files=entries)
    write_durably(staging / MANIFEST, manifest_text(asdict(record)).encode())
    sync_directory(staging)
    try:
        os.rename(staging, final)
    except OSError as error:
        raise StorageError(f"cannot rename {staging} to {final}: {error.strerror}.") from error
    try:
        sync_directory(final.parent)
    except StorageError:
        shutil.rmtree(_out_of_the_way(final), ignore_errors=True)  # whether it would stay is not known
        raise
    return Checkpoint(final, record)


def manifest_fields(
    run_id: str,
    segment: int,
    timesteps: int,
    iteration: int,
    world_size: int,
    score: float | None,
    score_level: int = 0,
    reason: str = "",
) -> dict[str, Any]:
    """A new manifest without its files."""
    return {
        "format": FORMAT,
        "run_id": run_id,
        "segment": segment,
        "timesteps": timesteps,
        "iteration": iteration,
        "world_size": world_size,
        "score": score,
        "score_level": score_level,
        "reason": reason,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": library_versions(),
    }


def manifest_text(fields: dict[str, Any]) -> str:
    """The manifest as it stands on disk: its fields, and last a sha256 over them."""
    own = hashlib.sha256(json.dumps(fields, indent=2).encode()).hexdigest()
    return json.dumps({**fields, "sha256": own}, indent=2) + "\n"


def read_manifest(path: Path) -> Manifest:
    """The manifest of a checkpoint directory; its files are not looked at.

    Raises:
        NewerFormat: it was written in a later format than this version reads.
        DataError: there is none, or it is damaged.
    """
    file = path / MANIFEST
    try:
        text = _read_file(file, _MANIFEST_BYTES).decode()
        fields = json.loads(text)
        if fields["format"] > FORMAT:
            raise NewerFormat(
                f"{file} has checkpoint format {fields['format']}, this lit_rl reads up to {FORMAT}; it was written by "
                f"lit-rl {fields['versions']['lit-rl']}, which opens it."
            )
        del fields["sha256"]
        if text != manifest_text(fields):
            raise DataError(f"digest mismatch in {file}: damaged.")
        manifest = Manifest(
            **{**fields, "files": {name: FileEntry(**entry) for name, entry in fields["files"].items()}}
        )
        _check_values(manifest)
        return manifest
    except FileNotFoundError:
        raise DataError(f"{path} has no {MANIFEST}: it is not a committed checkpoint.") from None
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{file} is damaged: {error}.") from None


def _check_values(manifest: Manifest) -> None:
    numbers = (manifest.segment, manifest.timesteps, manifest.iteration, manifest.world_size, manifest.score_level)
    sizes = [entry.size for entry in manifest.files.values()]
    if any(type(number) is not int or number < 0 for number in (*numbers, *sizes)):
        raise ValueError("a count in it is not a whole number")
    if not (manifest.score is None or type(manifest.score) in (int, float)):
        raise ValueError("its score is not a number")
    if not 1 <= manifest.world_size < len(manifest.files):
        raise ValueError(f"it lists {len(manifest.files)} files for {manifest.world_size} ranks")


def _read_file(file: Path, most: int) -> bytes:
    """The bytes of an ordinary file of at most `most`."""
    if file.exists() and not file.is_file():
        raise DataError(f"{file} is not an ordinary file.")
    size = file.stat().st_size
    if size > most:
        raise DataError(f"{file} has {size} bytes, more than the {most} it may have: damaged.")
    return file.read_bytes()


def missing_files(manifest: Manifest) -> list[str]:
    """Files that a checkpoint must have and its manifest does not list."""
    needed = {LIGHTNING_FILE, *(rank_file(rank) for rank in range(manifest.world_size))}
    return sorted(needed - manifest.files.keys())


def verify(path: Path) -> Checkpoint:
    """Check every file of a checkpoint against its manifest.

    Raises:
        DataError: a file is missing, has another size or another digest; names it.
    """
    manifest = read_manifest(path)
    missing = missing_files(manifest)
    if missing:
        raise DataError(f"{path} does not list {', '.join(missing)}.")
    for name, entry in manifest.files.items():
        read_verified(path, name, entry)
    return Checkpoint(path, manifest)


def read_back(checkpoint: Checkpoint) -> None:
    """Open every file of a checkpoint the way a resume does.

    Raises:
        DataError: one is damaged, or cannot be opened.
    """
    read_manifest(checkpoint.path)
    for name in checkpoint.manifest.files:
        open_file(checkpoint, name)


def read_verified(path: Path, name: str, entry: FileEntry) -> bytes:
    """A file's bytes, after size and digest have been found right."""
    file = path / name
    if Path(name).name != name:
        raise DataError(f"{path / MANIFEST} names a file outside the checkpoint: {name!r}.")
    try:
        size = file.stat().st_size
        if size != entry.size:
            raise DataError(f"{file} has {size} bytes, its manifest says {entry.size}: damaged.")
        data = _read_file(file, entry.size)
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
    """A rank's own state, checked."""
    return open_file(checkpoint, rank_file(rank))


def open_file(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """The state in one file of the manifest, checked."""
    entry = checkpoint.manifest.files[name]
    state: dict[str, Any] = loads(read_verified(checkpoint.path, name, entry), checkpoint.path / name)
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


def load_bare(path: Path) -> dict[str, Any]:
    """A single `.ckpt` file outside a checkpoint directory: no code is run; it has checksums, and no digest."""
    state = loads(path.read_bytes(), path, checksums=True)
    if not isinstance(state, dict) or "state_dict" not in state:
        raise DataError(f"{path} is not a Lightning checkpoint: it has no 'state_dict'.")
    return state


def remove(paths: Iterable[Path]) -> None:
    """Delete checkpoints of one directory, each whole: a crash in between leaves no half one that looks like one.

    Raises:
        StorageError: the disk said no.
    """
    doomed = [_out_of_the_way(path) for path in paths]
    if doomed:
        sync_directory(doomed[0].parent)
    for path in doomed:
        shutil.rmtree(path, ignore_errors=True)


def _out_of_the_way(path: Path) -> Path:
    """Rename a checkpoint to what counts as debris; returns where it is then."""
    doomed = path.with_name(f"{STAGING_PREFIX}removed-{path.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    with named(path):
        os.rename(path, doomed)
    return doomed
