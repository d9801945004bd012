"""What is done with each peer. Every step is a process of its own; what it writes of itself is read afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from resume_peers.damage import cut, flip, weights_file
from resume_peers.peers import HERE, ROOT, Peer

HALF, EVERY, ROLLOUT, LEARNING_RATE = 4096, 1024, 256, 1e-3
STRIKE_AT = (
    10  # the update before which a process is struck: 2,560 timesteps, half a checkpoint's distance from the last
)
LIMIT_S = 180


@dataclass
class Process:
    """One process that ran.

    Args:
        code: exit code; negative, the signal that ended it.
        begin: its line about its begin; `None` where it came to none.
        updates: its lines about its updates.
        weights: of its end; `None` where it came to none.
        output: what it printed.
    """

    code: int
    begin: dict[str, Any] | None
    updates: list[dict[str, Any]]
    weights: dict[str, np.ndarray] | None
    output: str = field(repr=False)


class Runs:
    """The runs of one peer, in directories below one of its own."""

    def __init__(self, name: str, peer: Peer, python: Path, scratch: Path) -> None:
        self.name, self.peer, self.scratch = name, peer, scratch
        self._python, self._count = python, 0

    def directory(self, name: str, like: str | None = None) -> Path:
        """A new directory for a run, empty or a copy of another's."""
        path = self.scratch / self.name / name
        shutil.rmtree(path, ignore_errors=True)
        if like is None:
            path.mkdir(parents=True)
        else:
            shutil.copytree(path.parent / like, path, symlinks=True)
        return path

    def run(
        self, directory: Path, resume: Path | None = None, end_past: int | None = None, strike: int | None = None
    ) -> Process:
        """Train to twice `HALF`; `strike` is a signal that is sent before update `STRIKE_AT`."""
        self._count += 1
        probe = self.scratch / self.name / f"probe_{self._count}"
        for old in (probe, Path(f"{probe}.npz")):
            old.unlink(missing_ok=True)
        command = [str(self._python), str(HERE / f"with_{self.name}.py"), "--dir", str(directory)]
        command += ["--timesteps", str(2 * HALF), "--save-every", str(EVERY)]
        command += [] if resume is None else ["--resume", str(resume)]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "RESUME_PROBE": str(probe), "PYTHONPATH": str(HERE)}
        env |= {} if end_past is None else {"RESUME_END_PAST": str(end_past)}
        env |= {"PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}"} if self.name == "lit_rl" else {}
        with open(f"{probe}.out", "w+") as output:
            process = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT)
            if strike is not None:
                _wait(process, probe)
                process.send_signal(strike)
            try:
                code = process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            output.seek(0)
            said = output.read()
        lines = [json.loads(line) for line in probe.read_text().splitlines()] if probe.exists() else []
        begin = next((line for line in lines if line["what"] == "begin"), None)
        weights = Path(f"{probe}.npz")
        found = dict(np.load(weights)) if weights.exists() else None
        return Process(code, begin, [line for line in lines if line["what"] == "update"], found, said)


def _wait(process: subprocess.Popen[Any], probe: Path) -> None:
    until = time.monotonic() + LIMIT_S
    while process.poll() is None and time.monotonic() < until:
        if probe.exists() and probe.read_text().count('"update"') >= STRIKE_AT:
            return
        time.sleep(0.002)


def measure(runs: Runs) -> dict[str, Any]:
    """Everything that is measured of one peer, as plain values for `judge`."""
    peer = runs.peer
    straight = runs.run(runs.directory("straight"))
    if straight.weights is None:
        raise RuntimeError(f"the straight run ended with {straight.code}:\n{straight.output[-2000:]}")
    twice = runs.run(runs.directory("twice"))
    found: dict[str, Any] = {"deterministic": _distance(straight, twice), "straight": _facts(straight)}
    runs.run(runs.directory("half"), end_past=HALF + ROLLOUT)
    checkpoint = peer.found(runs.directory("resumed", like="half"))[HALF]
    resumed = runs.run(runs.directory("resumed", like="half"), resume=checkpoint)
    found["resumed"] = {**_facts(resumed), "distance": _distance(straight, resumed)}
    for name, number in (("killed", signal.SIGKILL), ("stopped", signal.SIGTERM)):
        found[name] = _struck(runs, name, number)
    for name, harm in (("cut", cut), ("flipped", flip)):
        directory = runs.directory(name, like="half")
        checkpoint = peer.found(directory)[HALF]
        harm(weights_file(peer, checkpoint))
        gone_on = runs.run(directory, resume=checkpoint)
        told = {"named": checkpoint.name in gone_on.output, "distance": _distance(resumed, gone_on)}
        found[name] = {**_facts(gone_on), **told}
    return found


def _struck(runs: Runs, name: str, number: int) -> dict[str, Any]:
    """A signal in the middle, then the same command again, then what its documentation says to go on with."""
    directory = runs.directory(name)
    struck = runs.run(directory, strike=number)
    kept = runs.peer.found(directory)
    again = runs.run(runs.directory(f"{name}_again", like=name), end_past=0)
    on = runs.run(runs.directory(f"{name}_on", like=name), resume=_moved(kept, name), end_past=0)
    return {
        "code": struck.code,
        "reached": len(struck.updates) * ROLLOUT,
        "newest": max(kept, default=0),
        "again": _facts(again),
        "on": _facts(on),
    }


def _moved(kept: dict[int, Path], name: str) -> Path | None:
    """The newest checkpoint, in the copy of the run that goes on."""
    if not kept:
        return None
    path = kept[max(kept)]
    parts = list(path.parts)
    parts[parts.index(name)] = f"{name}_on"
    return Path(*parts)


def _facts(process: Process) -> dict[str, Any]:
    traceback = "Traceback (most recent call last)" in process.output
    lines = [line for line in process.output.splitlines() if line.strip()]
    return {
        "code": process.code,
        "begin": process.begin,
        "updates": process.updates,
        "traceback": traceback,
        "said": lines[-1][-400:] if lines else "",
        "output": process.output[-3000:],
    }


def _distance(one: Process, other: Process) -> float | None:
    """The largest difference of a weight; `None` where one has not come to its end."""
    if one.weights is None or other.weights is None:
        return None
    return max(float(np.abs(one.weights[name].astype(float) - other.weights[name]).max()) for name in one.weights)
