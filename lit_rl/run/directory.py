"""Run directories: ``<root>/<name>/version_N/``."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lit_rl.checkpoint.files import lacking, make_directory, named, sync_directory
from lit_rl.checkpoint.manifest import CHECKPOINTS as CHECKPOINTS
from lit_rl.checkpoint.manifest import places_in
from lit_rl.errors import ConfigError, Held, LitRLError, StorageError
from lit_rl.ops.limits import shown

LINEAGE = "lineage.json"
CONFIG = "config.yaml"
MOVED_AWAY = ".damaged-"
"""In the name of a log that could not be gone on with."""
_LONGEST = 200
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
"""What file systems without `flock` say."""
VERSION = re.compile(r"version_(\d+)")


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
    found = [(int(m[1]), p) for p in parent.iterdir() if (m := VERSION.fullmatch(p.name)) and p.is_dir()]
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


@contextlib.contextmanager
def gone_on_error(directory: Path) -> Iterator[None]:
    """Take a new run directory away again where its run does not come to begin."""
    try:
        yield
    except LitRLError:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def has_checkpoint(directory: Path) -> bool:
    """Whether a run directory holds a committed checkpoint, be it damaged: an older run must not be taken for it."""
    return bool(places_in(directory / CHECKPOINTS))


def runs_with_checkpoints(root: Path) -> list[Path]:
    """Every run directory below `root` that holds a checkpoint."""
    if not root.is_dir():
        return []
    names = [path.name for path in sorted(root.iterdir()) if path.is_dir()]
    return [run for name in names for run in versions_of(root, name) if has_checkpoint(run)]


class RunLock:
    """Held by one process at a time. The lock goes with its holder, however that ends.

    Where the file system has no locks, what the holder has written down stands for one: a process of this machine that
    is alive holds the run, any other does not, for a run that was killed has to go on. The banner says so.

    Args:
        directory: the run directory.

    Raises:
        Held: another process holds it; names the process.
        StorageError: the directory cannot be written to.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / ".lock"
        with named(self._path):
            self._file = open(self._path, "a+")  # noqa: SIM115  held for the life of the run
            try:
                self._take()
            except BaseException:
                self._file.close()
                raise

    def _take(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._kernels = True
        except BlockingIOError:
            raise self._held() from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            self._kernels = False
            if _lives(self._holder()):
                raise self._held() from None
            said = "a second process on another machine would not be noticed"
            lacking[f"this file system has no locks ({error.strerror}): {said}"] = None
        me = {"pid": os.getpid(), "host": socket.gethostname(), "started": _started(os.getpid())}
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps(me))
        self._file.flush()

    def _holder(self) -> dict[str, Any]:
        self._file.seek(0)
        try:
            holder = json.loads(self._file.read())
        except ValueError:
            return {}
        return holder if isinstance(holder, dict) else {}

    def _held(self) -> Held:
        holder = self._holder()
        by = f"process {holder['pid']} on {holder['host']}" if {"pid", "host"} <= holder.keys() else "another process"
        where = self._path.parent
        return Held(f"the run {where} is being trained by {by}; wait for it, stop it, or start another run.")

    def release(self) -> None:
        """Let the run go."""
        if not self._kernels and not self._file.closed:
            with named(self._path):
                self._file.truncate(0)
        self._file.close()


def is_held(directory: Path) -> bool | None:
    """Whether a process works on a run, told without taking its lock; `None` where it would be on another machine."""
    try:
        holder = json.loads((directory / ".lock").read_text())
        file = (directory / ".lock").stat()
    except (OSError, ValueError):
        return False
    if not isinstance(holder, dict) or "pid" not in holder:
        return False
    if holder.get("host") != socket.gethostname():
        return None
    return _lives(holder) and _has_flock(holder["pid"], file)


def _has_flock(pid: int, file: os.stat_result) -> bool:
    """Whether the kernel lists the lock; taken to be so where it has no list.

    A file system that lies over another has numbers of its own: there, any lock of the process counts.
    """
    try:
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return True
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:"
    places = [line[5] for line in lines if line[1] == "FLOCK" and line[4] == str(pid)]
    return any(place == f"{device}{file.st_ino}" or not place.startswith(device) for place in places)


def _started(pid: int) -> int | None:
    """When a process of this machine began, in ticks since that did; `None` where it cannot be told."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _lives(holder: dict[str, Any]) -> bool:
    """Whether who has written itself down is a process of this machine that is still there."""
    if holder.get("host") != socket.gethostname() or not isinstance(holder.get("pid"), int):
        return False
    if holder.get("started") is not None:
        return bool(_started(holder["pid"]) == holder["started"])
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
