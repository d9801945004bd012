"""What a directory of stable-baselines3 or the RL Zoo means, as its callbacks leave it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from lit_rl.errors import ConfigError, DataError
from lit_rl.untrusted.archive import Archive

BEST = "best_model.zip"
"""What EvalCallback saves, which training has long left behind."""
DATA_LIMIT = 1 << 25
"""Bytes that the text of an agent may have."""
_NUMBERED = re.compile(r"(.+)_(\d+)_steps")


def numbered(stem: str) -> tuple[str, int] | None:
    """Prefix and timesteps in a name that CheckpointCallback gives, without its ending; `None` for any other name."""
    match = _NUMBERED.fullmatch(stem)
    return None if match is None else (match[1], int(match[2]))


def newest_agent(directory: Path, strict: bool = False) -> tuple[Path | None, list[str]]:
    """The zip in a directory that was trained longest, and what is said of those that are damaged.

    Those of CheckpointCallback, of the Zoo and of `model.save` lie beside each other. `best_model.zip` is taken where
    there is no other.

    Args:
        directory: that is looked into; those below it are not.
        strict: refuse a damaged zip instead of passing it over.

    Raises:
        DataError: there are zips, and none can be read; or, with `strict`, one cannot.
    """
    found: list[tuple[bool, int, str, Path]] = []
    damaged, first = list[str](), None
    for path in sorted(directory.glob("*.zip")):
        try:
            timesteps = _timesteps(path)
        except DataError as error:
            if strict:
                raise
            damaged.append(f"{error} Passed over.")
            first = first or error
            continue
        if timesteps is not None:
            found.append((path.name != BEST, timesteps, path.name, path))
    if not found and first is not None:
        raise first
    return (max(found)[3] if found else None), damaged


def agent_file(path: str | Path) -> Path:
    """The zip that a path means: itself, or the newest of a directory; what was passed over is printed.

    Raises:
        ConfigError: the directory has none.
        DataError: those that it has are damaged.
    """
    if not Path(path).is_dir():
        return Path(path)
    found, damaged = newest_agent(Path(path))
    if found is None:
        raise ConfigError(f"{path}: {no_zip_in(Path(path))}; name the directory that has one, or a zip.")
    for said in damaged:
        print(f"WARNING: {said}")
    print(f"agent: {found}")
    return found


def no_zip_in(directory: Path) -> str:
    """That there is none, and where below there is one: the Zoo has directories for algorithms and runs."""
    below = {path.parent for pattern in ("*/*.zip", "*/*/*.zip") for path in directory.glob(pattern)}
    said = "no stable-baselines3 zip lies in it"
    if not below:
        return said
    some = ", ".join(str(folder) for folder in sorted(below)[:3])
    return f"{said}, but below it, in {some}{' and others' if len(below) > 3 else ''}"


def _timesteps(path: Path) -> int | None:
    """How long the agent in a zip was trained, 0 where it does not say; `None` where there is none in it."""
    with Archive.open(path) as archive:
        if not {"data", "policy.pth"} <= set(archive.names):
            return None
        try:
            said = json.loads(archive.read("data", DATA_LIMIT))["num_timesteps"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return 0
    return said if type(said) is int and said >= 0 else 0
