"""What a run of stable-baselines3 has written of itself: `monitor.csv` and `evaluations.npz` beside its zip."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lit_rl.errors import DataError
from lit_rl.untrusted.archive import Archive

_MONITOR_BYTES = 1 << 28
_EVALUATIONS = ("timesteps", "results", "ep_lengths", "successes")


@dataclass(frozen=True)
class Ended:
    """An episode in a monitor file.

    Args:
        ret, length, seconds: as they stand there; the last since the file was begun.
        success: what the environment said, where it was asked.
    """

    ret: float
    length: int
    seconds: float
    success: bool | None


@dataclass
class History:
    """A run up to some timestep.

    Args:
        episodes: in the order in which they ended.
        evaluations: arrays by their names in `evaluations.npz`, one row an evaluation.
        said: where they come from, and what could not be read.
    """

    episodes: list[Ended] = field(default_factory=list)
    evaluations: dict[str, np.ndarray] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Time that training has taken, as far as it is known."""
        return self.episodes[-1].seconds if self.episodes else 0.0


def history_beside(zip_path: Path, timesteps: int, n_envs: int) -> History:
    """What lies beside an agent's zip, up to the timesteps that it was trained.

    Args:
        zip_path: of the agent.
        timesteps: of all environments together.
        n_envs: how many they were; each has a monitor file of its own.
    """
    history, folder = History(), zip_path.parent
    files = sorted({*folder.glob("*.monitor.csv"), *folder.glob("monitor.csv")})
    for path in files:
        history.episodes += _monitor(path, timesteps // n_envs)
    history.episodes.sort(key=lambda episode: episode.seconds)
    if history.episodes:
        of = f" of {len(files)} of {n_envs} environments" if len(files) != n_envs else ""
        history.said.append(f"monitor.csv: {len(history.episodes):,} episodes{of} from {folder}")
    try:
        history.evaluations = evaluations_beside(zip_path, timesteps)
    except DataError as error:
        history.said.append(f"WARNING: {error} It is not gone on with.")
    if history.evaluations:
        count = len(history.evaluations["timesteps"])
        history.said.append(f"evaluations.npz: {count} evaluations from {folder / 'evaluations.npz'}")
    return history


def _monitor(path: Path, steps: int) -> list[Ended]:
    """The episodes of one environment up to so many steps of it. What a kill has left of a line is no episode."""
    if path.stat().st_size > _MONITOR_BYTES:
        return []
    lines = [line for line in path.read_text(errors="replace").splitlines() if not line.startswith("#")]
    found: list[Ended] = []
    played = 0
    for row in csv.DictReader(lines):
        try:
            ret, length, seconds = float(row["r"]), int(float(row["l"])), float(row["t"])
            success = row.get("is_success")
            ended = Ended(ret, length, seconds, None if success in (None, "") else success in ("True", "1", "1.0"))
        except (KeyError, TypeError, ValueError, OverflowError):
            continue  # a header once more, where training went on in the same file
        played += length
        if played > steps or length < 0 or not (math.isfinite(ret) and math.isfinite(seconds)):
            break
        found.append(ended)
    return found


def evaluations_beside(zip_path: Path, timesteps: int) -> dict[str, np.ndarray]:
    """The arrays of `evaluations.npz` beside an agent's zip, up to a timestep; empty where there is no such file.

    Raises:
        DataError: it is damaged, or something else.
    """
    path = zip_path.parent / "evaluations.npz"
    if not path.is_file():
        return {}
    found: dict[str, np.ndarray] = {}
    with Archive.open(path) as archive:
        for name in _EVALUATIONS:
            if f"{name}.npy" not in archive.names:
                continue
            try:
                found[name] = np.lib.format.read_array(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
            except (ValueError, EOFError) as error:
                raise DataError(f"{path}: member '{name}.npy' is no array ({str(error)[:100]}).") from None
    found = {name: array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array for name, array in found.items()}
    count = len(found.get("timesteps", ()))
    shapes = {name: array.shape for name, array in found.items()}
    if "results" not in found or any(len(s) != 1 + (n != "timesteps") or s[0] != count for n, s in shapes.items()):
        raise DataError(f"{path}: is not what EvalCallback writes.")
    kept = int((found["timesteps"] <= timesteps).sum())
    return {name: array[:kept] for name, array in found.items()}
