"""Running the command line as a user does, and looking at what it left."""

from __future__ import annotations

import contextlib
import csv
import functools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from lit_rl.checkpoint.manifest import Checkpoint
from lit_rl.checkpoint.reader import load_lightning, load_rank
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.state.parts import by_part
from lit_rl.state.plain import first_difference

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
    """Run ``python -m lit_rl ...`` to its end; its exit code must be `expect`.

    That ranks wait for one another is said after some seconds, so on a busy machine alone, and left out here.
    """
    process = forked("lit_rl", *words, cwd=cwd)
    try:
        out, err = process.communicate(timeout=280)
    except TimeoutError:
        process.kill()
        raise
    if expect is not None:
        assert process.returncode == expect, f"exit code {process.returncode}\n{out}\n{err}"
    err = "".join(line for line in err.splitlines(keepends=True) if not line.startswith("waiting for rank"))
    return subprocess.CompletedProcess(list(map(str, words)), process.returncode or 0, out, err)


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


def start(*words: str | Path, cwd: Path) -> Forked:
    """Start ``python -m lit_rl ...`` in a process group of its own."""
    return forked("lit_rl", *words, cwd=cwd, new_session=True)


def forked(module: str, *words: str | Path, cwd: Path, new_session: bool = False) -> Forked:
    """Start ``python -m module ...``, forked from a process that has the imports behind it."""
    request = {"module": module, "words": list(map(str, words)), "cwd": str(cwd), "env": environment()}
    return Forked({**request, "new_session": new_session})


class Forked:
    """A command that goes on; what `subprocess.Popen` offers of it."""

    def __init__(self, request: dict[str, Any]) -> None:
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_zygote())
        socket.send_fds(self._connection, [json.dumps(request).encode()], [out_end, err_end])
        os.close(out_end)
        os.close(err_end)
        self.stdout, self.stderr = open(out), open(err)  # noqa: SIM115  closed by communicate
        self._told = b""
        self.pid = int(self._line(30.0))
        self.returncode: int | None = None

    def _line(self, timeout: float | None) -> str:
        """The next line that the command's parent tells."""
        end = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._told:
            self._connection.settimeout(None if end is None else max(end - time.monotonic(), 0.001))
            self._told += self._connection.recv(64)
        line, _, self._told = self._told.partition(b"\n")
        return line.decode()

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = int(self._line(timeout))
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(TimeoutError):
            return self.wait(0.001)
        return None

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it has said, once it has ended and everybody it shared its outputs with."""
        end = None if timeout is None else time.monotonic() + timeout
        said: dict[str, str] = {}
        readers = [
            threading.Thread(target=lambda name=name, file=file: said.update({name: file.read()}), daemon=True)
            for name, file in (("out", self.stdout), ("err", self.stderr))
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(None if end is None else max(end - time.monotonic(), 0.0))
            if reader.is_alive():
                raise TimeoutError(f"process {self.pid} goes on")
        self.wait(timeout)
        self.stdout.close()
        self.stderr.close()
        return said["out"], said["err"]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@functools.cache
def _zygote() -> str:
    """The socket of this test process's own."""
    path = str(Path(tempfile.mkdtemp(prefix="lit_rl_tests_")) / "zygote")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.zygote", path], cwd=ROOT, env=environment(), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return path


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


def kill_at_random(*words: str | Path, cwd: Path, run: Path, seed: str, most: int) -> None:
    """Start a command that goes on with a run, and kill it a little after its next checkpoint, again and again.

    It is left alone when it ends by itself, which it must do well: how often it is killed before that is the machine's
    affair, but once it is.
    """

    def newest() -> str | None:
        found = checkpoints(run) if (run / "checkpoints").is_dir() else []
        return found[-1].name if found else None

    rng = random.Random(seed)
    for kills in range(most):
        process, before = start(*words, cwd=cwd), newest()
        wait_for(lambda process=process, before=before: newest() != before or process.poll() is not None)  # type: ignore[misc]
        time.sleep(rng.uniform(0.0, 0.1))
        if process.poll() is not None:
            assert process.returncode == 0
            assert kills, "it ended before the first kill"
            return
        process.send_signal(signal.SIGKILL)
        process.wait()


def kill_group(process: Forked, number: signal.Signals) -> None:
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


def same_runs(one: Path, other: Path) -> None:
    """Two runs have the same state at their ends, to the bit, and the same metrics all the way."""
    ours, theirs = final_state(one), final_state(other)
    for name in ours.keys() | theirs.keys():
        assert first_difference(ours.get(name), theirs.get(name), name) is None
    assert metrics(one) == metrics(other)


def metrics(run: Path) -> list[dict[str, str]]:
    """The lines of a run's metrics.csv, without what is measured with a clock."""
    with open(run / "metrics.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(file)]


def lineage(run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run / "lineage.json").read_text())
    return loaded
