"""A checkpoint comes to be on disk, and goes: staged, fsynced, committed by a rename; removed as a whole.

Every file is written to a staging directory beside the target and fsynced, the manifest last; then the directory is
renamed. It exists once its manifest does.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lit_rl.checkpoint.files import named, sync_directory, write_durably
from lit_rl.checkpoint.manifest import MANIFEST, Checkpoint, FileEntry, Manifest, manifest_text
from lit_rl.errors import StorageError
from lit_rl.state.plain import to_plain

STAGING_PREFIX = ".staging-"


def dumps(state: Any) -> bytes:
    """A state as bytes that `loads` opens.

    Raises:
        TypeError: it holds something other than tensors and plain values; names where.
    """
    buffer = io.BytesIO()
    torch.save(to_plain(state), buffer)
    return buffer.getvalue()


def staging_path(final: Path) -> Path:
    """Where a checkpoint is put together: beside its place, on the same filesystem."""
    return final.with_name(f"{STAGING_PREFIX}{final.name}")


def commit(
    staging: Path,
    final: Path,
    manifest: dict[str, Any],
    files: dict[str, bytes] | None = None,
    known: dict[str, FileEntry] | None = None,
) -> Checkpoint:
    """Make a staged checkpoint real: describe its files in a manifest, and rename it into its place.

    Args:
        staging: a directory with every other file, each written durably.
        final: where it will be; must not exist.
        manifest: the manifest's fields except `files`.
        files: contents that the caller still has, so that they need not be read again.
        known: files of which the caller knows what the manifest says of them.

    Raises:
        StorageError: the disk said no; there is no new checkpoint then.
    """
    entries = dict(known or {})
    with named(staging):
        for path in sorted(each for each in staging.iterdir() if each.name not in entries):
            data = (files or {}).get(path.name)
            data = path.read_bytes() if data is None else data
            entries[path.name] = FileEntry(len(data), hashlib.sha256(data).hexdigest())
    record = Manifest(**manifest, files=entries)
    text = manifest_text(asdict(record)).encode()
    write_durably(staging / MANIFEST, text)
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
    return Checkpoint(final, record, hashlib.sha256(text).hexdigest())


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
