"""The files of a run as they were before a resume cut them, kept until its first save makes the new history real.

A resumed run drops from its logs what came after its checkpoint, for it writes that again. Until it has saved, the
older history is all there is: a process that ends before that, however it does, has changed nothing.
"""

from __future__ import annotations

import contextlib
import csv
import re
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from lit_rl.checkpoint.files import named, replace, sync, sync_directory
from lit_rl.checkpoint.manifest import place_of
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.errors import StorageError
from lit_rl.run.directory import CHECKPOINTS, CONFIG, MOVED_AWAY, event_files
from lit_rl.training.iteration import Log

_NAME = re.compile(r"\.aside-s(\d+)\.tar")
_LOGS = ("metrics.csv", "monitor.csv", "evaluations.npz", CONFIG)


def log_files(run: Path) -> list[Path]:
    """The files that a resume may cut, as they lie in a run directory."""
    found = [*(run / name for name in _LOGS), *event_files(run)]
    return [path for path in found if path.is_file() and not path.is_symlink()]


class Aside:
    """What one segment has put aside.

    Args:
        run: the run directory.
        segment: number of the segment that is about to cut its files.
    """

    def __init__(self, run: Path, segment: int) -> None:
        self._run, self._file = run, run / f".aside-s{segment:03d}.tar"

    def put(self) -> None:
        """Copy the run's files.

        Raises:
            StorageError: the disk said no; nothing has been changed.
        """
        staged = self._file.with_suffix(".staged")
        try:
            with named(self._file):
                with tarfile.open(staged, "w") as archive:
                    for path in log_files(self._run):
                        archive.add(path, path.name)
                with open(staged, "rb") as written:
                    sync(written.fileno(), "files")
            replace(staged, self._file)
        except StorageError:
            with contextlib.suppress(OSError):
                staged.unlink(missing_ok=True)
            raise
        sync_directory(self._run)

    def drop(self) -> None:
        """The new history has been saved."""
        with named(self._file):
            self._file.unlink(missing_ok=True)

    def put_back(self) -> None:
        """The new history has come to nothing: the files are again what they were."""
        if not self._file.exists():
            return
        with contextlib.suppress(tarfile.TarError):  # damaged: what lies there stays
            names = self.copy(self._run)
            for path in log_files(self._run):
                if path.name not in names:
                    path.unlink()  # begun since
        self.drop()

    def copy(self, into: Path) -> set[str]:
        """Put the files that were put aside into a directory; returns their names.

        Raises:
            StorageError: the disk said no.
            tarfile.TarError: the archive is damaged.
        """
        with named(self._file), tarfile.open(self._file) as archive:
            members = {each.name: each for each in archive.getmembers() if each.isreg() and "/" not in each.name}
            for name, member in members.items():
                content = archive.extractfile(member)
                assert content is not None
                staged = into / f".{name}"
                with open(staged, "wb") as file:
                    shutil.copyfileobj(content, file)
                replace(staged, into / name)
        return set(members)


def _found(run: Path) -> dict[int, bool]:
    """Segments that have put files aside, the newest first, and whether they have saved since."""
    found = [int(match[1]) for path in run.iterdir() if (match := _NAME.fullmatch(path.name))]
    saved = [place[0] for path in (run / CHECKPOINTS).glob("t*") if (place := place_of(path.name)) is not None]
    return {segment: any(each >= segment for each in saved) for segment in sorted(found, reverse=True)}


def settle(run: Path) -> None:
    """Put back what segments have put aside that ended without a save; drop it where they have saved."""
    for segment, has_saved in _found(run).items():
        aside = Aside(run, segment)
        if has_saved:
            aside.drop()
        else:
            aside.put_back()
    for leftover in run.glob(".aside-*.staged"):
        leftover.unlink(missing_ok=True)


def copy_logs(run: Path, into: Path) -> None:
    """Copy the files of another run that lead to its checkpoints.

    Where it went back and has not saved since, its files have been cut, and those that were put aside are whole.

    Raises:
        StorageError: the disk said no.
    """
    unsaved = [segment for segment, has_saved in _found(run).items() if not has_saved]
    with contextlib.suppress(tarfile.TarError):  # damaged: what lies there is all there is
        if unsaved:
            Aside(run, unsaved[-1]).copy(into)
            return
    for file in log_files(run):
        with named(into / file.name):
            shutil.copy(file, into / file.name)


def tidy(directory: Path) -> None:
    """Put right what a kill left behind in a finished run that is held, unless it is not ours to write."""
    with contextlib.suppress(StorageError):
        settle(directory)
        CheckpointStore(directory / CHECKPOINTS).tidy()


def cut(log: Log, position: dict[str, Any]) -> list[str]:
    """Let a log go back to a position; what cannot be read is moved away, and a new file begins.

    A log is no part of the state: however damaged it is, the run goes on.

    Returns:
        lines that say what was moved or is missing.
    """
    try:
        missing = log.cut_to(position)
    except (OSError, ValueError, KeyError, EOFError, TypeError, IndexError, csv.Error, zipfile.BadZipFile) as error:
        moved = [_move_away(path) for path in log.files() if path.exists()]
        log.begin_anew()
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        return [f"WARNING: cannot go on with {old}, now {new}: {said}; a new one begins" for old, new in moved]
    return [] if missing is None else [f"WARNING: {missing}"]


def _move_away(path: Path) -> tuple[str, str]:
    number = 1
    while (target := path.with_name(f"{path.name}{MOVED_AWAY}{number}")).exists():
        number += 1
    with named(path):
        path.rename(target)
    return path.name, target.name
