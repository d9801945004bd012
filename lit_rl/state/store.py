"""The checkpoints of one run: which are there, which is newest, which is best, which may go."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from lit_rl.errors import DataError
from lit_rl.state.checkpoint import Checkpoint, read_manifest, remove, staging_path, verify
from lit_rl.state.files import point_link

STAGING_PREFIX = ".staging-"


@dataclass
class Inventory:
    """What lies in a run's checkpoint directory.

    Args:
        checkpoints: with a readable manifest, newest first. Their files have not been looked at yet.
        rejected: what looks like a checkpoint and is none, with the reason.
    """

    checkpoints: list[Checkpoint] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)

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
        keep_last: how many of the newest to keep. The best one is kept besides.
    """

    def __init__(self, directory: Path, keep_last: int = 3) -> None:
        self.directory = directory
        self.keep_last = keep_last

    def inventory(self) -> Inventory:
        """Everything there, ordered by what the manifests say."""
        found = Inventory()
        if not self.directory.is_dir():
            return found
        for path in sorted(self.directory.iterdir()):
            if path.is_symlink() or not path.is_dir() or path.name.startswith("."):
                continue
            try:
                found.checkpoints.append(Checkpoint(path, read_manifest(path)))
            except DataError as error:
                found.rejected.append(str(error))
        found.checkpoints.sort(key=lambda c: c.manifest.order, reverse=True)
        return found

    def newest_good(self, strict: bool = False) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint whose every file is right, and why newer ones were passed over.

        Raises:
            DataError: `strict`, and the newest one is damaged.
        """
        inventory = self.inventory()
        complaints = list(inventory.rejected)
        for checkpoint in inventory.checkpoints:
            try:
                return verify(checkpoint.path), complaints
            except DataError as error:
                if strict:
                    raise
                complaints.append(str(error))
        return None, complaints

    def place(self, timesteps: int, segment: int) -> Path:
        """Where the checkpoint of this moment belongs. Later segments never meet an earlier one's."""
        return self.directory / f"t{timesteps:010d}-s{segment:03d}"

    def stage(self, timesteps: int, segment: int) -> Path:
        """An empty staging directory for the checkpoint of this moment."""
        self.directory.mkdir(parents=True, exist_ok=True)
        staging = staging_path(self.place(timesteps, segment))
        if staging.exists():
            shutil.rmtree(staging)
        staging.mkdir()
        return staging

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
        if not inventory.checkpoints:
            return
        newest, best = inventory.checkpoints[0], inventory.best() or inventory.checkpoints[0]
        point_link(self.directory / "last", newest.path.name)
        point_link(self.directory / "best", best.path.name)
        keep = {c.path for c in inventory.checkpoints[: self.keep_last]} | {best.path}
        for checkpoint in inventory.checkpoints:
            if checkpoint.path not in keep:
                remove(checkpoint.path)
