"""From what a user writes (`last`, a path) to the checkpoint it means, checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lit_rl.checkpoint.manifest import LIGHTNING_FILE, MANIFEST
from lit_rl.checkpoint.reader import Opened, load_bare, verify
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.errors import DataError
from lit_rl.interop.places import newest_agent, no_zip_in
from lit_rl.interop.sb3 import Agent, read_agent
from lit_rl.run.directory import CHECKPOINTS, LINEAGE
from lit_rl.run.wanted import newest_run, refuse_missing


@dataclass
class Source:
    """A checkpoint to begin from.

    Args:
        path: what was opened.
        lightning: its dictionary, only for reading.
        checkpoint: the directory, its manifest and what was read of it; `None` for a bare file.
        agent: what a stable-baselines3 zip holds; its `lightning` is empty.
        complaints: what was passed over on the way, and why.
        adopted: the zip that was asked for, where a run has gone on from it already.
    """

    path: Path
    lightning: dict[str, Any]
    checkpoint: Opened | None
    agent: Agent | None = None
    complaints: list[str] = field(default_factory=list)
    adopted: Path | None = None

    @property
    def ours(self) -> dict[str, Any]:
        """What is ours in Lightning's dictionary.

        Raises:
            DataError: nothing is: another program wrote it.
        """
        if "lit_rl" not in self.lightning:
            raise DataError(f"{self.path} was not written by lit_rl: it has no 'lit_rl' part.")
        ours: dict[str, Any] = self.lightning["lit_rl"]
        return ours


def find(wanted: str, root: Path, name: str, strict: bool, key: str) -> Source:
    """Open what `wanted` names.

    Args:
        wanted: `last`, `best`, a checkpoint directory, a run directory, a file, or a directory that stable-baselines3
            or the RL Zoo has left.
        root: where runs lie.
        name: the run's name, for `last` and `best`.
        strict: do not go back to an older checkpoint when the newest is damaged.
        key: the setting, for errors.

    Raises:
        ConfigError: there is nothing of the kind.
        DataError: there is, and none of it is good.
    """
    refuse_missing(wanted, root, name, key)
    if wanted in ("last", "best") and (run := newest_run(root, name)) is not None:
        return _from_run(run, wanted, strict)
    path = Path(wanted)
    if path.name == LIGHTNING_FILE and (path.parent / MANIFEST).exists():
        path = path.parent
    path = path.resolve()
    if path.name in ("last", "best") and path.parent.name == CHECKPOINTS:  # a copy in the place of the link
        return _from_run(path.parent.parent, path.name, strict)
    if path.is_file():
        if path.suffix == ".zip":
            return Source(path, {}, None, read_agent(path))
        return Source(path, load_bare(path), None)
    if (path / MANIFEST).exists():
        return _open(verify(path), [])
    if (path / CHECKPOINTS).is_dir() or (path / LINEAGE).exists():
        return _from_run(path, "last", strict)
    if path.name == CHECKPOINTS:
        return _from_run(path.parent, "last", strict)
    zipped, damaged = newest_agent(path, strict)
    if zipped is not None:
        return Source(zipped, {}, None, read_agent(zipped), damaged)
    raise DataError(
        f"{key}: {wanted} is neither a checkpoint (no {MANIFEST}) nor a run directory (no {LINEAGE}), and "
        f"{no_zip_in(path)}."
    )


def run_of(wanted: str, root: Path, name: str) -> Path | None:
    """The run directory that `wanted` (as for `find`) lies in; `None` if there is none."""
    if wanted in ("last", "best"):
        return newest_run(root, name)
    path = Path(wanted).resolve()
    return next((each for each in (path, *path.parents[:3]) if (each / LINEAGE).is_file()), None)


def _from_run(run: Path, which: str, strict: bool) -> Source:
    store = CheckpointStore(run / CHECKPOINTS)
    inventory = store.inventory()
    best = inventory.best() if which == "best" else None
    if best is not None:
        return _open(verify(best), [])
    checkpoint, complaints = store.newest_good(strict, inventory)
    if checkpoint is None:
        detail = f" {complaints[0]}" if complaints else ""
        raise DataError(f"{run} has no good checkpoint.{detail}")
    return _open(checkpoint, complaints)


def _open(checkpoint: Opened, complaints: list[str]) -> Source:
    return Source(checkpoint.path, checkpoint.look(LIGHTNING_FILE), checkpoint, complaints=complaints)
