"""Holding the run that a command goes on with, from before it is looked at until the command ends."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from lit_rl.errors import DataError, StorageError
from lit_rl.run.config import ResumeConfig
from lit_rl.run.directory import RunLock, has_checkpoint, versions_of
from lit_rl.run.lineage import Lineage, digest_of
from lit_rl.run.sources import Source, find, run_of


class Hold:
    """The locks of the run directories that this process works on, one lock each."""

    def __init__(self) -> None:
        self._locks: dict[Path, RunLock] = {}

    def take(self, directory: Path) -> None:
        """Hold a run directory, unless it is held already.

        Raises:
            Held: another process has it.
            StorageError: the directory cannot be written to.
        """
        directory = directory.resolve()
        if directory not in self._locks:
            self._locks[directory] = RunLock(directory)

    def release(self) -> None:
        """Let all of them go."""
        while self._locks:
            self._locks.popitem()[1].release()

    def find(self, config: ResumeConfig, root: Path, name: str) -> Source:
        """What a resume goes on from, of a run that is held: nobody saves, cuts or deletes there from here on.

        A run that is forked is not held: its own process may go on meanwhile. A zip from which a run of this name has
        gone on already means that run.

        Raises:
            Held: another process has it.
            ConfigError, DataError: as `find` of `run/sources.py`.
        """
        source = None
        while source is None:
            directory = None if config.fork else run_of(config.checkpoint, root, name)
            if directory is not None:
                with contextlib.suppress(StorageError):  # a finished run may lie where nothing can be written
                    self.take(directory)
            source = find(config.checkpoint, root, name, config.strict, "resume.checkpoint")
            if directory is not None and not _lies_in(source, directory):  # a newer run has begun in the meantime
                self.release()
                source = None
        wanted = Path(config.checkpoint)
        own = None if source.agent is None or config.fork else _begun_from(source.path, wanted, root, name)
        if own is None:
            return source
        found = self.find(replace(config, checkpoint=str(own)), root, name)
        found.adopted = source.path
        return found


def _begun_from(zip_path: Path, wanted: Path, root: Path, name: str) -> Path | None:
    """The newest run of a name that has gone on from a zip, or from one in the directory that is named, and has a
    checkpoint of its own."""
    digest, folder = digest_of(zip_path), wanted.resolve() if wanted.is_dir() else None
    for run in versions_of(root, name):
        with contextlib.suppress(DataError):
            lineage = Lineage.read(run)
            if lineage.adopted is None or not has_checkpoint(run):
                continue
            if lineage.adopted == digest or Path(str(lineage.parents[0].get("path"))).parent == folder:
                return run
    return None


def _lies_in(source: Source, directory: Path) -> bool:
    return directory.resolve() in source.path.resolve().parents
