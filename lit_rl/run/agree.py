"""Whether all ranks are about to do the same: looked at before anything is written."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from lit_rl.checkpoint.manifest import library_versions
from lit_rl.errors import ConfigError, StorageError
from lit_rl.ranks.group import Ranks
from lit_rl.run.drift import changes, differences_of
from lit_rl.state.parts import capture, restore
from lit_rl.training.module import RLModule

MUST_BE_EQUAL = ("lit-rl", "torch", "lightning")
"""Libraries that ranks cannot have different versions of; of others it is said."""
_SEEN_S = 5.0
"""So long may a shared file system take to show a new file on another machine."""


def agree(module: RLModule, trainer: Trainer | None, asked: Mapping[str, Any]) -> list[str]:
    """Compare what every rank was started with.

    Args:
        module: whose settings.
        trainer: how it computes.
        asked: the other keys of the run, by name.

    Returns:
        what is said of differences that the run can live with.

    Raises:
        ConfigError: names each setting that differs, the rank, and both values.
    """
    ranks = module.ranks
    if ranks.alone:
        return []
    callbacks: list[Callback] = [] if trainer is None else trainer.callbacks  # type: ignore[attr-defined]
    other = {key: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
             for key, value in asked.items()}  # fmt: skip
    other["model.class_path"] = type(module).__name__
    other["trainer.callbacks"] = [type(each).__name__ for each in callbacks]
    other["trainer.precision"] = None if trainer is None else str(trainer.precision)
    own: dict[str, Any] = {
        "settings": module.settings(),
        "other": other,
        "versions": library_versions(),
        "cwd": os.getcwd(),
    }
    every = ranks.gather(own)
    first, notes, wrong = every[0], list[str](), list[str]()
    for rank, theirs in enumerate(every[1:], start=1):
        found = [*changes(first["settings"], theirs["settings"]), *differences_of(first["other"], theirs["other"])]
        versions = differences_of(first["versions"], theirs["versions"])
        found += [change for change in versions if change.key in MUST_BE_EQUAL]
        wrong += [f"{each.shown} is {each.old} on rank 0 and {each.new} on {ranks.name(rank)}" for each in found]
        notes += [
            f"WARNING: {each.key} is {each.old} on rank 0 and {each.new} on rank {rank}: numbers may differ"
            for each in versions
            if each.key not in MUST_BE_EQUAL
        ]
        if theirs["cwd"] != first["cwd"]:
            notes.append(f"WARNING: rank {rank} works in {theirs['cwd']}, rank 0 in {first['cwd']}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        _refuse(ranks, f"{'; '.join(wrong[:5])}{more}. Start all ranks with the same.")
    return notes


def prove_common(ranks: Ranks, directory: Path) -> None:
    """Look whether all ranks see one directory: rank 0 leaves a file there for a moment.

    Args:
        ranks: that look.
        directory: where the run will lie, as each of them names it. What is missing of it is made, and removed again.

    Raises:
        ConfigError: a rank does not see the file; names the rank and its directory.
        StorageError: the directory cannot be written to.
    """
    if ranks.alone:
        return
    token = ranks.broadcast(f".seen-by-all-{uuid.uuid4().hex}")
    made: list[Path] = []
    try:
        ranks.first(lambda: _leave(directory, token, made))
        every = ranks.gather((_appears(directory / token), os.path.abspath(directory)))
    finally:
        if ranks.is_first:
            with contextlib.suppress(OSError):
                (directory / token).unlink(missing_ok=True)
            _remove(made)
    for rank, (seen, own) in enumerate(every):
        if not seen:
            where = f"{own} there" if own != every[0][1] else "the same path there, on another disk"
            _refuse(
                ranks,
                f"{ranks.name(rank)} does not see the run directory: it is below {every[0][1]} on rank 0, and {where}. "
                "Start all ranks in one directory, or set trainer.default_root_dir to a path that all of them share.",
            )


def same_everywhere(module: RLModule) -> None:
    """The other ranks build what rank 0 has built, and take its weights, its moments and its level."""
    ranks = module.ranks
    if ranks.alone:
        return

    def build() -> None:
        module.build_envs()
        module.build_networks()

    ranks.together(build)
    state = {"tensors": module.state_dict(), "run": capture(module.run_parts())} if ranks.is_first else {}
    state = ranks.broadcast(state)
    module.load_state_dict(state["tensors"])
    restore(module.run_parts(), state["run"])


def _leave(directory: Path, token: str, made: list[Path]) -> None:
    try:
        for path in (*reversed(directory.parents), directory):
            if not path.exists():
                path.mkdir()
                made.append(path)
        (directory / token).touch()
    except OSError as error:
        _remove(made)
        raise StorageError(f"cannot write to {directory}: {error.strerror}.") from error


def _remove(made: list[Path]) -> None:
    with contextlib.suppress(OSError):  # another run has put something there
        while made:
            made.pop().rmdir()


def _appears(path: Path) -> bool:
    end = time.monotonic() + _SEEN_S
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def _refuse(ranks: Ranks, text: str) -> None:
    error = ConfigError(text)
    error.reported, error.agreed = not ranks.is_first, True
    raise error
