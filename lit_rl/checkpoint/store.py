"""The checkpoints of one run: which are there, which is newest, which is best, which may go.

Nothing older is deleted before what is newer has been committed and read back.
"""

from __future__ import annotations

import shutil
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lit_rl.checkpoint.commit import STAGING_PREFIX, remove, staging_path
from lit_rl.checkpoint.files import make_directory, named, point_link
from lit_rl.checkpoint.history import belonging
from lit_rl.checkpoint.manifest import (
    CHECKPOINTS,
    MANIFEST,
    Checkpoint,
    NewerFormat,
    name_of,
    places_in,
    read_checkpoint,
)
from lit_rl.checkpoint.reader import Opened, read_back, verify
from lit_rl.errors import DataError, StorageError

_LINKS = ("last", "best")


@dataclass
class Inventory:
    """What lies in a run's checkpoint directory.

    Args:
        checkpoints: of the run's present history, with a readable manifest, newest first. Their files have not been
            looked at yet.
        left_behind: those of histories that the run has gone back from.
        rejected: what looks like a checkpoint and is none, with the reason.
        newer: what a later version of lit_rl wrote, with that version.
    """

    checkpoints: list[Checkpoint] = field(default_factory=list)
    left_behind: list[Path] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    newer: list[str] = field(default_factory=list)

    def best(self) -> Checkpoint | None:
        """The one with the highest score, the earliest of equals."""
        scored = [c for c in self.checkpoints if c.manifest.score is not None]
        return max(
            scored,
            key=lambda c: (c.manifest.score_level, c.manifest.score or 0.0, -c.manifest.timesteps),
            default=None,
        )


class CheckpointStore:
    """The directory ``checkpoints/`` of one run.

    Args:
        directory: where it is; need not exist yet.
        keep_last: how many of the newest to keep. The best one and those before a promotion are kept besides.
        keep_every: timesteps; the first checkpoint at or past each multiple is kept for good.
    """

    def __init__(self, directory: Path, keep_last: int = 3, keep_every: int | None = None) -> None:
        self.directory = directory
        self.keep_last = keep_last
        self.keep_every = keep_every

    def places(self) -> list[Path]:
        """Every directory that is a checkpoint, or looks like one."""
        return places_in(self.directory)

    def inventory(self, known: Checkpoint | None = None) -> Inventory:
        """Everything there, ordered by what the manifests say; that of `known` has been read and is not read again."""
        found, unreadable, readable = Inventory(), [], []
        for path in self.places():
            if known is not None and known.path == path:
                readable.append(known)
                continue
            try:
                checkpoint = read_checkpoint(path)
                if path.name not in _LINKS or not self._twin(checkpoint).exists():
                    readable.append(checkpoint)
            except NewerFormat as error:
                found.newer.append(str(error))
            except DataError as error:
                if path.name not in _LINKS:
                    found.rejected.append(str(error))
                    unreadable.append(path)
        found.checkpoints, found.left_behind = belonging(readable, unreadable)
        return found

    def _twin(self, checkpoint: Checkpoint) -> Path:
        """Where a checkpoint belongs; another place is that of a copy."""
        return self.place(checkpoint.manifest.timesteps, checkpoint.manifest.segment)

    def _replace_copied_links(self, known: Checkpoint | None) -> None:
        """A run that was copied by a tool that follows links has whole checkpoints in their places."""
        for path in (self.directory / name for name in _LINKS):
            if path.is_symlink() or not path.is_dir() or (known is not None and known.path == path):
                continue
            try:
                twin = self._twin(read_checkpoint(path))
            except DataError:
                twin = path.with_name(f"{path.name}.set-aside")
            if twin.exists():
                remove([path])
            else:
                with named(path):
                    path.rename(twin)

    def newest_good(self, strict: bool = False, inventory: Inventory | None = None) -> tuple[Opened | None, list[str]]:
        """The newest checkpoint whose every file is right, opened, and why newer ones were passed over.

        Args:
            strict: do not go back to an older one.
            inventory: what is there, where that has been looked at.

        Raises:
            DataError: one was written by a later version of lit_rl; or `strict`, and the newest one is damaged.
        """
        inventory = inventory or self.inventory()
        if inventory.newer:
            raise DataError(inventory.newer[0])
        complaints = list(inventory.rejected)
        if strict and complaints:
            raise DataError(complaints[0])  # it may have been the newest
        for checkpoint in inventory.checkpoints:
            try:
                return verify(checkpoint), complaints
            except DataError as error:
                if strict:
                    raise
                complaints.append(str(error))
        return None, complaints

    def place(self, timesteps: int, segment: int) -> Path:
        """Where the checkpoint of this moment belongs."""
        return self.directory / name_of(timesteps, segment)

    def stage(self, timesteps: int, segment: int) -> Path:
        """An empty staging directory for the checkpoint of this moment.

        Raises:
            StorageError: the disk said no.
        """
        make_directory(self.directory)
        staging = staging_path(self.place(timesteps, segment))
        with named(staging):
            if staging.exists():
                shutil.rmtree(staging)
            staging.mkdir()
        return staging

    def discard(self, timesteps: int, segment: int) -> None:
        """Delete what a save that failed has written."""
        shutil.rmtree(staging_path(self.place(timesteps, segment)), ignore_errors=True)

    def accept(self, checkpoint: Checkpoint, new: Container[str] | None = None) -> None:
        """Take a new checkpoint in: read it back as a resume would, then `settle`.

        Args:
            checkpoint: that has been committed.
            new: its files of rows that are shared with no earlier one; `None` for all.

        Raises:
            StorageError: it reads back wrong, and was deleted; older ones were not touched.
        """
        try:
            read_back(checkpoint, new)
        except DataError as error:
            remove([checkpoint.path])
            raise StorageError(
                f"a new checkpoint reads back wrong and was deleted: {error} Older ones are untouched; check the disk."
            ) from error
        self.settle()

    def clear_debris(self) -> list[str]:
        """Remove what a killed save left behind; returns the names."""
        if not self.directory.is_dir():
            return []
        debris = [path for path in self.directory.iterdir() if path.name.startswith(STAGING_PREFIX)]
        for path in debris:
            shutil.rmtree(path, ignore_errors=True)
        return [path.name for path in debris]

    def settle(self) -> None:
        """After a save: point `last` and `best` at their checkpoints and delete what retention lets go."""
        inventory = self.inventory()
        self._link(inventory)
        self._prune(inventory, self.keep_last)

    def tidy(self, known: Checkpoint | None = None) -> list[str]:
        """Put right what a killed save left behind: debris, of which the names are returned, and links."""
        debris = self.clear_debris()
        self._replace_copied_links(known)
        self._link(self.inventory(known))
        return debris

    def _link(self, inventory: Inventory) -> None:
        if inventory.checkpoints:
            newest, best = inventory.checkpoints[0], inventory.best() or inventory.checkpoints[0]
            for name, target in zip(_LINKS, (newest, best), strict=True):
                point_link(self.directory / name, target.path.name)

    def make_room(self, shared: Checkpoint | None = None) -> list[str]:
        """On a full disk: delete what retention will let go after the next save; returns the names.

        The newest good one stays, whatever retention says, and so does the one that the next shares files with.
        """
        self.clear_debris()
        besides = [each.path for each in (self.newest_good()[0], shared) if each is not None]
        return self._prune(self.inventory(), max(self.keep_last - 1, 1), besides)

    def _prune(self, inventory: Inventory, newest: int, besides: Iterable[Path] = ()) -> list[str]:
        keep = self._kept(inventory, newest) | set(besides)
        gone = [checkpoint.path for checkpoint in inventory.checkpoints if checkpoint.path not in keep]
        gone += [path for path in inventory.left_behind if path not in keep]
        remove(gone)
        return [path.name for path in gone]

    def _kept(self, inventory: Inventory, newest: int) -> set[Path]:
        """What retention keeps: the newest, the best, those before a promotion, and one for each `keep_every`."""
        keep = {c.path for c in inventory.checkpoints[:newest]}
        best = inventory.best()
        if best is not None:
            keep.add(best.path)
        keep |= {c.path for c in inventory.checkpoints if c.manifest.reason == "promotion"}
        if self.keep_every is not None:
            first: dict[int, Path] = {}
            for c in sorted(inventory.checkpoints, key=lambda c: (c.manifest.timesteps, c.manifest.segment)):
                first.setdefault(c.manifest.timesteps // self.keep_every, c.path)
            keep |= {path for multiple, path in first.items() if multiple > 0}
        return keep


def checkpoint_in(path: Path) -> tuple[Path, list[str]]:
    """The checkpoint that a directory means: itself, or the newest good one where it is a run's.

    Returns:
        its directory, and why newer ones were passed over.

    Raises:
        DataError: it is a run's, and has no good one.
    """
    inside = path if path.name == CHECKPOINTS else path / CHECKPOINTS
    if (path / MANIFEST).exists() or not inside.is_dir():
        return path, []
    newest, complaints = CheckpointStore(inside).newest_good()
    if newest is None:
        raise DataError(f"{path} has no good checkpoint.{f' {complaints[0]}' if complaints else ''}")
    return newest.path, complaints
