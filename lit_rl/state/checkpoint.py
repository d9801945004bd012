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
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lit_rl import __version__
from lit_rl.errors import DataError, StorageError
from lit_rl.state.files import sync_directory, write_durably
from lit_rl.state.plain import to_plain

FORMAT = 1
MANIFEST = "manifest.json"
LIGHTNING_FILE = "lightning.ckpt"


def rank_file(rank: int) -> str:
    """Name of a rank's own file."""
    return f"rank_{rank:05d}.pt"


@dataclass(frozen=True)
class FileEntry:
    """A file of the checkpoint: its size in bytes and its sha256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says of itself. `docs/checkpoints.md` describes every field.

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


def loads(data: bytes, path: Path) -> Any:
    """The inverse of `dumps`; runs no code, whatever the bytes are."""
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} cannot be opened as tensors and plain values: {reason}") from None


def staging_path(final: Path) -> Path:
    """Where a checkpoint is put together: beside its place, on the same filesystem."""
    return final.with_name(f".staging-{final.name}")


def commit(staging: Path, final: Path, manifest: dict[str, Any], files: dict[str, bytes] | None = None) -> Checkpoint:
    """Make a staged checkpoint real: describe its files in a manifest, and rename it into its place.

    Args:
        staging: a directory with every other file, each written durably.
        final: where it will be; must not exist.
        manifest: the manifest's fields except `files`.
        files: contents that the caller still has, so that they need not be read again.
    """
    entries = {}
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
    sync_directory(final.parent)
    return Checkpoint(final, record)


def manifest_fields(
    run_id: str,
    segment: int,
    timesteps: int,
    iteration: int,
    world_size: int,
    score: float | None,
    score_level: int = 0,
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
        DataError: there is none, it is damaged, or its format is newer than this version reads.
    """
    file = path / MANIFEST
    try:
        text = file.read_text()
        fields = json.loads(text)
        if fields["format"] > FORMAT:
            raise DataError(
                f"{file} has checkpoint format {fields['format']}, this lit_rl reads up to {FORMAT}; it was written by "
                f"lit-rl {fields['versions']['lit-rl']}, which opens it."
            )
        del fields["sha256"]
        if text != manifest_text(fields):
            raise DataError(f"digest mismatch in {file}: damaged.")
        return Manifest(**{**fields, "files": {name: FileEntry(**entry) for name, entry in fields["files"].items()}})
    except FileNotFoundError:
        raise DataError(f"{path} has no {MANIFEST}: it is not a committed checkpoint.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} is damaged: {error}.") from None


def verify(path: Path) -> Checkpoint:
    """Check every file of a checkpoint against its manifest.

    Raises:
        DataError: a file is missing, has another size or another digest; names it.
    """
    manifest = read_manifest(path)
    needed = {LIGHTNING_FILE, *(rank_file(rank) for rank in range(manifest.world_size))}
    missing = sorted(needed - manifest.files.keys())
    if missing:
        raise DataError(f"{path} does not list {', '.join(missing)}.")
    for name, entry in manifest.files.items():
        read_verified(path, name, entry)
    return Checkpoint(path, manifest)


def read_verified(path: Path, name: str, entry: FileEntry) -> bytes:
    """A file's bytes, after size and digest have been found right."""
    file = path / name
    if Path(name).name != name:
        raise DataError(f"{path / MANIFEST} names a file outside the checkpoint: {name!r}.")
    try:
        size = file.stat().st_size
        if size != entry.size:
            raise DataError(f"{file} has {size} bytes, its manifest says {entry.size}: damaged.")
        data = file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{file} is missing.") from None
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise DataError(f"digest mismatch in {file}: damaged.")
    return data


def load_lightning(checkpoint: Checkpoint) -> dict[str, Any]:
    """Lightning's dictionary with ours inside, checked."""
    return _load(checkpoint, LIGHTNING_FILE)


def load_rank(checkpoint: Checkpoint, rank: int) -> dict[str, Any]:
    """A rank's own state, checked."""
    return _load(checkpoint, rank_file(rank))


def _load(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    entry = checkpoint.manifest.files[name]
    state: dict[str, Any] = loads(read_verified(checkpoint.path, name, entry), checkpoint.path / name)
    return state


def load_bare(path: Path) -> dict[str, Any]:
    """A single `.ckpt` file outside a checkpoint directory: opened without running code, but with nothing to check."""
    state = loads(path.read_bytes(), path)
    if not isinstance(state, dict) or "state_dict" not in state:
        raise DataError(f"{path} is not a Lightning checkpoint: it has no 'state_dict'.")
    return state


def remove(path: Path) -> None:
    """Delete a checkpoint so that a crash in between leaves no half one: the manifest goes first."""
    (path / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
