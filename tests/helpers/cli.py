"""Running the command line as a user does, and looking at what it left."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from lit_rl.state.checkpoint import Checkpoint, load_lightning, load_rank
from lit_rl.state.parts import by_part
from lit_rl.state.store import CheckpointStore

ROOT = Path(__file__).parents[2]
TIMES = ("time/fps", "time/time_elapsed")

CARTPOLE: dict[str, Any] = {
    "name": "run",
    "seed_everything": 1,
    "total_timesteps": 512,
    "env": {"id": "CartPole-v1", "n_envs": 4, "backend": "sync"},
    "model": {
        "class_path": "PPO",
        "init_args": {"n_steps": 32, "batch_size": 64, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}},
    },
    "checkpoint": {"every_timesteps": 128, "keep_last": 10},
}
"""Four iterations of 128 timesteps in about a second."""


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, block by block."""
    result = dict(base)
    for key, value in over.items():
        result[key] = merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return result


def write_config(directory: Path, over: dict[str, Any] | None = None, name: str = "run.yaml") -> Path:
    """A small CartPole configuration, changed as asked."""
    path = directory / name
    path.write_text(yaml.safe_dump(merged(CARTPOLE, over or {})))
    return path


def environment() -> dict[str, str]:
    """The process environment of a test's own processes: one thread, the project on the path."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MUJOCO_GL": "egl"}


def lit_rl(*words: str | Path, cwd: Path, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run ``python -m lit_rl ...`` to its end; its exit code must be `expect`."""
    command = [sys.executable, "-m", "lit_rl", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment(), timeout=280, check=False)
    if expect is not None:
        assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def error_of(*words: str | Path, cwd: Path, expect: int = 2) -> str:
    """The one line a mistake is answered with; fails on a traceback, on more lines, and on anything written."""
    before = sorted(cwd.rglob("*"))
    done = lit_rl(*words, cwd=cwd, expect=expect)
    lines = done.stderr.strip().splitlines()
    assert lines, done.stdout
    assert lines[0].startswith("error: "), done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(cwd.rglob("*")) == before, "something was written"
    return "\n".join(lines).removeprefix("error: ")


def start(*words: str | Path, cwd: Path) -> subprocess.Popen[str]:
    """Start ``python -m lit_rl ...`` in a process group of its own."""
    command = [sys.executable, "-m", "lit_rl", *map(str, words)]
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        start_new_session=True,
    )  # fmt: skip


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [
        int(status.parent.name) for status in Path("/proc").glob("[0-9]*/status") if f"PPid:\t{pid}\n" in _read(status)
    ]


def is_alive(pid: int) -> bool:
    text = _read(Path(f"/proc/{pid}/status"))
    return bool(text) and "State:\tZ" not in text


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def kill_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to the whole process group, as a terminal or a scheduler does."""
    os.killpg(process.pid, number)


def run_directory(cwd: Path, name: str = "run", version: int = 0) -> Path:
    return cwd / "lightning_logs" / name / f"version_{version}"


def checkpoints(run: Path) -> list[Checkpoint]:
    """A run's checkpoints, oldest first."""
    return CheckpointStore(run / "checkpoints").inventory().checkpoints[::-1]


def parts(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint's state by part."""
    ranks = [load_rank(checkpoint, rank) for rank in range(checkpoint.manifest.world_size)]
    return by_part(load_lightning(checkpoint), ranks)


def final_state(run: Path) -> dict[str, Any]:
    """The state of a run's newest checkpoint, by part."""
    return parts(checkpoints(run)[-1])


def metrics(run: Path) -> list[dict[str, str]]:
    """The lines of a run's metrics.csv, without what is measured with a clock."""
    with open(run / "metrics.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(file)]


def lineage(run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run / "lineage.json").read_text())
    return loaded
