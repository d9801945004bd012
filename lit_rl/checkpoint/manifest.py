"""What a checkpoint says of itself: `manifest.json`, and the names of the files beside it."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lit_rl.errors import DataError
from lit_rl.version import __version__

FORMAT = 1

CHECKPOINTS = "checkpoints"
"""Where they lie in a run directory."""
MANIFEST = "manifest.json"

LIGHTNING_FILE = "lightning.ckpt"

ROWS_SUFFIX = ".rows"
"""Files of rows that later checkpoints share."""

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
        parent: name of the checkpoint that its segment went on from; `None` for a run's first segment, and where it was
            not written down.
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
    parent: str | None = None

    @property
    def order(self) -> tuple[int, int]:
        """Later checkpoints of a run have a greater one."""
        return (self.segment, self.timesteps)


_NAME = re.compile(r"t(\d{10,})-s(\d{3,})")


def places_in(directory: Path) -> list[Path]:
    """Every directory among a run's checkpoints that is one, or looks like one."""
    if not directory.is_dir():
        return []
    inside = sorted(directory.iterdir())
    return [path for path in inside if path.is_dir() and not (path.is_symlink() or path.name.startswith("."))]


def name_of(timesteps: int, segment: int) -> str:
    """What a checkpoint's directory is called. Later segments never meet an earlier one's."""
    return f"t{timesteps:010d}-s{segment:03d}"


def place_of(name: str) -> tuple[int, int] | None:
    """Segment and timesteps that a directory's name says; `None` if it says none."""
    match = _NAME.fullmatch(name)
    return None if match is None else (int(match[2]), int(match[1]))


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint.

    Args:
        path: where it lies.
        manifest: what it says of itself.
        digest: sha256 of the manifest as it was read, and through it of everything in the checkpoint.
    """

    path: Path
    manifest: Manifest
    digest: str

    @property
    def name(self) -> str:
        """By which others refer to it, whatever its directory is called now."""
        return name_of(self.manifest.timesteps, self.manifest.segment)

    @property
    def lightning_file(self) -> Path:
        return self.path / LIGHTNING_FILE


def library_versions() -> dict[str, str]:
    """Versions that exactness depends on."""
    names = ("lightning", "torch", "gymnasium", "stable-baselines3", "numpy")
    return {
        "python": platform.python_version(),
        "lit-rl": __version__,
        **{name: _installed(name) for name in names},
    }


@functools.cache
def _installed(name: str) -> str:
    """The version of a library, which takes milliseconds to look up."""
    return version(name)


def manifest_fields(
    run_id: str,
    segment: int,
    timesteps: int,
    iteration: int,
    world_size: int,
    score: float | None,
    score_level: int = 0,
    reason: str = "",
    parent: str | None = None,
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
        "parent": parent,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": library_versions(),
    }


def manifest_text(fields: dict[str, Any]) -> str:
    """The manifest as it stands on disk: its fields, and last a sha256 over them."""
    own = hashlib.sha256(json.dumps(fields, indent=2).encode()).hexdigest()
    return json.dumps({**fields, "sha256": own}, indent=2) + "\n"


def read_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint directory by its manifest; its other files are not looked at.

    Raises:
        NewerFormat: it was written in a later format than this version reads.
        DataError: there is none, or it is damaged.
    """
    file = path / MANIFEST
    try:
        text = read_file(file, _MANIFEST_BYTES).decode()
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
        return Checkpoint(path, manifest, hashlib.sha256(text.encode()).hexdigest())
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
    if not isinstance(manifest.parent, str | None):
        raise ValueError("its parent is not a name")
    if not 1 <= manifest.world_size < len(manifest.files):
        raise ValueError(f"it lists {len(manifest.files)} files for {manifest.world_size} ranks")


def read_file(file: Path, most: int) -> bytes:
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
