"""What a run is to begin from, as a user writes it (`last`, a path), where it is not there."""

from __future__ import annotations

import os
from pathlib import Path

from lit_rl.checkpoint.manifest import CHECKPOINTS
from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.run.directory import has_checkpoint, runs_with_checkpoints, versions_of

DEFAULT_ROOT = Path("lightning_logs")
NO_PARENT = "warmstart.checkpoint is missing: name a checkpoint, a run directory or a .ckpt file."


def newest_run(root: Path, name: str) -> Path | None:
    """The newest run directory of a name that holds a checkpoint."""
    return next((run for run in versions_of(root, name) if has_checkpoint(run)), None)


def refuse_missing(wanted: str, root: Path, name: str, key: str) -> None:
    """Refuse what is not there; the arguments are those of `find` of `run/sources.py`.

    Raises:
        ConfigError: there is nothing of the kind; names the nearest run that has a checkpoint.
    """
    if "://" in wanted:
        raise ConfigError(f"{key}: '{wanted}' is a remote address; copy it to a local directory first.")
    if wanted in ("last", "best"):
        if newest_run(root, name) is None:
            raise ConfigError(
                f"{key}: '{wanted}' of the run '{name}' is not there: no checkpoint below {root / name}."
                f"{_nearest(root)}"
            )
    elif not Path(wanted).exists():
        raise ConfigError(f"{key}: '{wanted}' is not there.{_nearest(root, wanted)}")


def _nearest(root: Path, wanted: str | None = None) -> str:
    runs = runs_with_checkpoints(root)
    if not runs:
        return f" No run below {root} has a checkpoint yet."
    if wanted is not None:
        near = did_you_mean(wanted, [str(run) for run in runs])
        if near:
            return near
    newest = max(runs, key=lambda run: os.stat(run / CHECKPOINTS).st_mtime)
    return f" The nearest run that has one is {newest}."
