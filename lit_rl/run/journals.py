"""Files in the forms of stable-baselines3 and the RL Zoo, which a resumed run goes on with: nothing lost or twice.

Like a logger, each says where it stands (`position`) and can go back there (`cut_to`).
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lit_rl.checkpoint.files import append, put
from lit_rl.interop.history import Ended
from lit_rl.training.iteration import Iteration


class MonitorCsv:
    """``monitor.csv``: one line an episode, of all environments, in the order (step, environment).

    A comment with the start time, then SB3's columns `r` (return), `l` (length), `t` (seconds of training since the
    run began), then `level` and `is_success` (1 or 0, empty where the environment does not say). Episodes of one
    iteration come in together; their times are spread over it evenly.

    Args:
        directory: the run directory.
        env_name: for the comment.
        writes: whether this process is the one that writes it.
    """

    def __init__(self, directory: Path, env_name: str, writes: bool = True) -> None:
        self._file, self._writes = directory / "monitor.csv", writes
        self._env_name = env_name
        self.seconds = 0.0
        """Time of training up to the last iteration."""

    def write(self, iteration: Iteration) -> None:
        """Add the episodes of the iteration that has ended."""
        if not self._writes:
            return
        begin, end = self.seconds, iteration.seconds
        self.seconds = end
        lines = [] if self._file.exists() else self._head(end)
        for i, episode in enumerate(iteration.ended):
            seconds = begin + (end - begin) * (i + 1) / len(iteration.ended)
            lines.append(_line(episode.ret, episode.length, seconds, episode.level, episode.success))
        if lines:
            append(self._file, "".join(lines).encode())

    def begin_with(self, episodes: Sequence[Ended]) -> None:
        """Go on from those of another program's run, the last of which ended when training had taken so long."""
        self.seconds = episodes[-1].seconds
        lines = [_line(each.ret, each.length, each.seconds, 0, each.success) for each in episodes]
        append(self._file, "".join([*self._head(self.seconds), *lines]).encode())

    def _head(self, seconds: float) -> list[str]:
        """Of a file in a run that has trained for so long."""
        header = {"t_start": time.time() - seconds, "env_id": self._env_name}
        return [f"#{json.dumps(header)}\n", "r,l,t,level,is_success\n"]

    def position(self) -> dict[str, Any]:
        """Length in bytes, and the time of the last iteration."""
        return {"bytes": self._file.stat().st_size if self._file.exists() else 0, "seconds": self.seconds}

    def cut_to(self, position: dict[str, Any]) -> str | None:
        """Drop what came after `position`. Returns what is missing, if something is."""
        self.seconds = position["seconds"]
        missing = f"monitor.csv: some of its {position['bytes']} bytes are gone" if position["bytes"] else None
        if not self._file.exists():
            return missing
        kept = self._file.read_bytes()[: position["bytes"]]
        kept.decode()  # a file that somebody has damaged is none to go on with
        whole = kept.rfind(b"\n") + 1
        if whole == 0:
            self._file.unlink()
        else:
            os.truncate(self._file, whole)
        return missing if whole < position["bytes"] else None

    def files(self) -> list[Path]:
        return [self._file]

    def begin_anew(self) -> None:
        """There is no file any more."""


def _line(ret: float, length: int, seconds: float, level: int, success: bool | None) -> str:
    said = "" if success is None else int(success)
    return f"{round(ret, 6)},{length},{seconds:.6f},{level},{said}\n"


class EvaluationsNpz:
    """``evaluations.npz`` as SB3's EvalCallback writes it: K evaluations of E episodes.

    `timesteps` [K], `results` [K, E] returns, `ep_lengths` [K, E], `successes` [K, E] where the environment says, and
    `levels` [K, E] with a curriculum. Where the number of episodes was changed, rows are filled up with NaN.

    Args:
        directory: the run directory.
        writes: whether this process is the one that writes it.
    """

    def __init__(self, directory: Path, writes: bool = True) -> None:
        self._file, self._writes = directory / "evaluations.npz", writes
        self._rows: dict[str, list[Any]] = {}

    @property
    def _count(self) -> int:
        return len(self._rows.get("timesteps", []))

    def write(self, iteration: Iteration) -> None:
        """Add the evaluation of the iteration that has ended, if there was one."""
        if iteration.evaluation is None or not self._writes:
            return
        episodes = iteration.evaluation.episodes
        row: dict[str, Any] = {
            "timesteps": iteration.timesteps,
            "results": [episode.ret for episode in episodes],
            "ep_lengths": [episode.length for episode in episodes],
        }
        if all(episode.success is not None for episode in episodes):
            row["successes"] = [bool(episode.success) for episode in episodes]
        if iteration.with_levels:
            row["levels"] = [episode.level for episode in episodes]
        before = self._count
        for key in row.keys() | self._rows.keys():
            self._rows.setdefault(key, [[]] * before).append(row.get(key, []))
        self._save()

    def begin_with(self, columns: Mapping[str, np.ndarray]) -> None:
        """Go on from those of another program's run."""
        self._rows = {key: list(rows) for key, rows in columns.items()}
        self._save()

    def position(self) -> dict[str, Any]:
        """Evaluations written so far."""
        return {"evaluations": self._count}

    def cut_to(self, position: dict[str, Any]) -> str | None:
        """Keep the first evaluations only. Returns what is missing, if something is."""
        self._rows, due = {}, position["evaluations"]
        if not self._file.exists():
            return f"evaluations.npz: {due} evaluations are gone" if due else None
        if due == 0:
            self._file.unlink()
            return None
        with np.load(self._file, allow_pickle=False) as stored:
            self._rows = {key: list(stored[key][:due]) for key in stored.files}
        self._save()
        return f"evaluations.npz: {due - self._count} of {due} evaluations are gone" if self._count < due else None

    def files(self) -> list[Path]:
        return [self._file]

    def begin_anew(self) -> None:
        """There is no file any more."""
        self._rows = {}

    def _save(self) -> None:
        data = io.BytesIO()
        arrays = {key: np.array(rows) if key == "timesteps" else _matrix(rows) for key, rows in self._rows.items()}
        np.savez(data, **arrays)  # type: ignore[arg-type]
        put(self._file, data.getvalue())


def _matrix(rows: list[Any]) -> np.ndarray:
    """Rows as one array; filled up with NaN where they are not of one length."""
    width = max(len(row) for row in rows)
    if all(len(row) == width for row in rows):
        return np.array([np.asarray(row) for row in rows])
    filled = np.full((len(rows), width), np.nan)
    for i, row in enumerate(rows):
        filled[i, : len(row)] = row
    return filled
