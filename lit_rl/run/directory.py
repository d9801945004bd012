"""Run directories: ``<root>/<name>/version_N/``."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
from pathlib import Path

from lit_rl.checkpoint.files import make_directory, named, sync_directory
from lit_rl.checkpoint.store import CHECKPOINTS as CHECKPOINTS
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.errors import ConfigError, Held, StorageError
from lit_rl.ops.limits import shown

LINEAGE = "lineage.json"
CONFIG = "config.yaml"
MOVED_AWAY = ".damaged-"
"""In the name of a log that could not be gone on with."""
_LONGEST = 200
_VERSION = re.compile(r"version_(\d+)")


def check_name(name: str) -> None:
    """Refuse a name that is no name of a directory.

    Raises:
        ConfigError: says why.
    """
    wrong = (
        "is not text"
        if not isinstance(name, str)
        else "is empty"
        if not name.strip()
        else "holds a slash; trainer.default_root_dir says where runs lie"
        if "/" in name or "\\" in name
        else "is no name of a directory"
        if name.strip(".") == "" or name != name.strip() or not name.isprintable()
        else f"is longer than {_LONGEST} bytes"
        if len(name.encode(errors="replace")) > _LONGEST
        else None
    )
    if wrong is not None:
        raise ConfigError(f"name: {shown(name)} {wrong}; give a word, such as cartpole.")


def versions_of(root: Path, name: str) -> list[Path]:
    """Run directories of a name, newest first."""
    parent = root / name
    if not parent.is_dir():
        return []
    found = [(int(m[1]), p) for p in parent.iterdir() if (m := _VERSION.fullmatch(p.name)) and p.is_dir()]
    return [path for _, path in sorted(found, reverse=True)]


def event_files(run: Path) -> list[Path]:
    """TensorBoard's files of a run, in order."""
    return sorted(path for path in run.glob("events.out.tfevents.*") if MOVED_AWAY not in path.name)


def new_directory(root: Path, name: str) -> Path:
    """Make the next ``version_N`` of a name. Two processes that do so at once get two directories."""
    while True:
        newest = versions_of(root, name)
        number = int(newest[0].name.removeprefix("version_")) + 1 if newest else 0
        path = root / name / f"version_{number}"
        make_directory(path.parent)
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise StorageError(f"cannot make the run directory {path}: {error.strerror}.") from error
        sync_directory(path.parent)
        return path


def has_checkpoint(directory: Path) -> bool:
    """Whether a run directory holds a committed checkpoint, be it damaged: an older run must not be taken for it."""
    return bool(CheckpointStore(directory / CHECKPOINTS).places())


def runs_with_checkpoints(root: Path) -> list[Path]:
    """Every run directory below `root` that holds a checkpoint."""
    if not root.is_dir():
        return []
    names = [path.name for path in sorted(root.iterdir()) if path.is_dir()]
    return [run for name in names for run in versions_of(root, name) if has_checkpoint(run)]


class RunLock:
    """One process at a time works on a run. The lock goes with its holder, however that ends.

    Args:
        directory: the run directory.

    Raises:
        Held: another process holds it; names the process.
        StorageError: the directory cannot be written to.
    """

    def __init__(self, directory: Path) -> None:
        with named(directory / ".lock"):
            self._file = open(directory / ".lock", "a+")  # noqa: SIM115  held for the life of the run
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._holder(self._file.read())
            self._file.close()
            raise Held(
                f"the run {directory} is being trained by {holder}; wait for it, stop it, or start another run."
            ) from None
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        self._file.flush()

    @staticmethod
    def _holder(text: str) -> str:
        try:
            holder = json.loads(text)
            return f"process {holder['pid']} on {holder['host']}"
        except (ValueError, KeyError, TypeError):
            return "another process"

    def release(self) -> None:
        """Let the run go."""
        self._file.close()
