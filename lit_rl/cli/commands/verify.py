"""`verify`: prove on the user's own configuration that a stopped and resumed run equals one that was not stopped.

Every run is a process of its own; the one that is not stopped is started the way a user starts it. All of them lie in a
directory of their own: no run of the user's is touched, whatever the configuration names.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lit_rl.checkpoint.manifest import Checkpoint, read_checkpoint
from lit_rl.checkpoint.reader import load_lightning, load_rank
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.cli.processes import run_apart, run_forked
from lit_rl.cli.text import read_yaml
from lit_rl.errors import EXIT_OK, EXIT_STOPPED, ConfigError, LitRLError
from lit_rl.run.directory import CHECKPOINTS
from lit_rl.run.lineage import Lineage
from lit_rl.run.sources import find
from lit_rl.run.wanted import DEFAULT_ROOT
from lit_rl.state.parts import by_part
from lit_rl.state.plain import digest, first_difference, to_plain

SUMMARY = "prove that a run of this configuration resumes exactly"
ORDER = 50

_ITERATIONS = 6
_TIMES = ("time/fps", "time/time_elapsed")


class NotExact(LitRLError):
    """A resumed run differs from the one that was never stopped."""

    exit_code = 1


def main(argv: list[str]) -> int:
    """Run ``lit-rl verify``."""
    parser = argparse.ArgumentParser(
        prog="lit-rl verify",
        description="Train a short run straight through, and again with stops in the middle, in separate processes; "
        "compare every part of the state and the logged metrics to the bit. Other options go to fit.",
    )
    parser.add_argument("--config", "-c", action="append", default=[], help="the run's configuration")
    parser.add_argument("--iterations", type=int, default=_ITERATIONS, help="length of the run (default: %(default)s)")
    parser.add_argument("--stops", type=int, default=2, help="how many times it is stopped (default: %(default)s)")
    parser.add_argument(
        "--stop_at",
        default=None,
        help="stop at these timesteps instead, such as 8192,16384",
    )
    parser.add_argument("--keep", default=None, help="keep the runs in this directory")
    parser.add_argument("--ckpt_path", default=None, help="go on from a copy of this checkpoint, in place of a new run")
    arguments, others = parser.parse_known_args(argv)
    if not arguments.config:
        raise ConfigError("verify needs a configuration: lit-rl verify --config run.yaml")
    files = [read_yaml(Path(path)) for path in arguments.config]
    if arguments.stops < 1 or arguments.iterations <= arguments.stops:
        raise ConfigError(f"--stops is {arguments.stops}; give at least 1, and more --iterations than stops.")
    stop_at = None if arguments.stop_at is None else _timesteps(arguments.stop_at)
    fit_argv = [part for path in arguments.config for part in ("--config", str(Path(path).resolve()))] + others
    given = next((each for each in (arguments.ckpt_path, *(file.get("ckpt_path") for file in files)) if each), None)
    with contextlib.ExitStack() as stack:
        root = arguments.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="lit_rl_verify_"))
        check = _Check(Path(root), fit_argv, arguments.iterations, arguments.stops)
        if given is not None:
            check.copy(_checkpoint(str(given), files))
        check.run(stop_at)
    return EXIT_OK


def _timesteps(text: str) -> list[int]:
    given = text.split(",")
    if not all(each.strip().isdecimal() for each in given):
        raise ConfigError(f"--stop_at is '{text}'; give timesteps with commas between them, such as 8192,16384.")
    return sorted({int(each) for each in given})


def _checkpoint(wanted: str, files: list[dict[str, Any]]) -> Path:
    """The checkpoint that `--ckpt_path` means."""
    name = next((file["name"] for file in reversed(files) if "name" in file), "run")
    source = find(wanted, DEFAULT_ROOT, str(name), False, "--ckpt_path")
    if source.checkpoint is None:
        raise ConfigError(f"--ckpt_path: {source.path} is no checkpoint that a run can be resumed from.")
    source.checkpoint.release()
    return source.path


class _Check:
    """Runs to compare, each in a directory of its own below `root`.

    Args:
        root: where they lie.
        fit_argv: the configuration, as arguments of `fit`.
        iterations: length of a run.
        stops: how often the stopped one is stopped.
    """

    def __init__(self, root: Path, fit_argv: list[str], iterations: int, stops: int) -> None:
        # Saving every iteration changes nothing that is learned, and lets every iteration be compared. What of the
        # configuration names runs of the user's is set back.
        own = {
            "checkpoint.every_timesteps": "1", "checkpoint.keep_last": str(iterations + 2), "name": "verify",
            "requeue": "false", "trainer.logger": "false", "ckpt_path": "null", "resume.checkpoint": "last",
            "resume.total_timesteps": "null", "resume.additional_timesteps": "null", "resume.fork": "false",
        }  # fmt: skip
        self._fit_argv = [*fit_argv, *(f"--{key}={value}" for key, value in own.items())]
        self._stopped, self._straight = root / "stopped", root / "straight"
        self._iterations, self._stops = iterations, stops
        self._start, self._mode = 0, "fresh"

    def copy(self, checkpoint: Path) -> None:
        """Let both runs begin with a copy of this checkpoint and of its run's files."""
        run = checkpoint.parent.parent
        for root in (self._stopped, self._straight):
            target = root / "verify" / "version_0"
            target.mkdir(parents=True)
            for file in (each for each in run.iterdir() if each.is_file() and not each.name.startswith(".")):
                shutil.copy(file, target / file.name)
            shutil.copytree(checkpoint, target / CHECKPOINTS / checkpoint.name)
        self._start, self._mode = read_checkpoint(checkpoint).manifest.timesteps, "resume"

    def run(self, stop_at: list[int] | None) -> None:
        """Train, and compare.

        Raises:
            NotExact: something differs.
            ConfigError: a run failed, or there is nothing to resume.
        """
        self._fit(self._stopped, self._mode, pause_at=self._start + 1)
        length, at, end = self._stops_of(_Result.of(self._stopped), stop_at)
        for here, following in zip(at, [*at[1:], end], strict=True):
            print(f"stopped at timestep {here:,}, resumed to {following:,}", flush=True)
            self._fit(self._stopped, "resume", pause_at=following)
        print(f"straight to timestep {end:,} in {(end - self._start) // length} iterations", flush=True)
        self._fit(self._straight, self._mode, pause_at=end, apart=True)
        _compare(_Result.of(self._straight), _Result.of(self._stopped), at)

    def _stops_of(self, first: _Result, stop_at: list[int] | None) -> tuple[int, list[int], int]:
        """Length of an iteration, and at what timesteps the run is stopped and ends."""
        length, target = first.checkpoints[-1].manifest.timesteps - self._start, first.target
        iterations = min(self._iterations, -(-(target - self._start) // length)) if length else 0
        if iterations < 2:
            raise ConfigError(
                f"nothing can be resumed: the run is at its target, {target:,}, within one iteration; give a larger "
                "total_timesteps."
            )
        end, stops = self._start + length * iterations, min(self._stops, iterations - 1)
        if stop_at is None:
            return length, [self._start + length * (1 + (iterations - 1) * i // stops) for i in range(stops)], end
        if not self._start < stop_at[0] <= stop_at[-1] <= end - length:
            raise ConfigError(
                f"--stop_at goes from {stop_at[0]:,} to {stop_at[-1]:,}, and the run has {iterations} iterations of "
                f"{length:,}: give timesteps up to {end - length:,}, or more --iterations."
            )
        rounded = {self._start - (self._start - timestep) // length * length for timestep in stop_at}
        return length, sorted({self._start + length, *rounded}), end

    def _fit(self, root: Path, mode: str, pause_at: int, apart: bool = False) -> None:
        """Train in a process of its own up to `pause_at`. The run's target and its schedules stay as they are.

        Args:
            root: where the run lies.
            mode: how it begins.
            pause_at: timestep.
            apart: start the process as a user does, instead of forking it.
        """
        command = ["fit", *self._fit_argv, "--mode", mode, "--pause_at", str(pause_at)]
        command += ["--trainer.default_root_dir", str(root)]
        done = run_apart(command) if apart else run_forked(command)
        for line in done.stdout.splitlines():
            if "boundary" in line or "could not be brought back" in line:
                print(f"  {line}")
        if done.returncode not in (EXIT_OK, EXIT_STOPPED):
            message = (done.stderr.strip() or done.stdout.strip()).splitlines()
            errors = [line.removeprefix("error: ") for line in message if line.startswith("error: ")]
            text = errors[-1] if errors else "\n".join(message[-20:])
            raise ConfigError(f"a run of the check ended with exit code {done.returncode}: {text}")


@dataclass
class _Result:
    checkpoints: list[Checkpoint]
    target: int
    metrics: list[dict[str, str]]
    journals: dict[str, Any]

    @classmethod
    def of(cls, root: Path) -> _Result:
        run = root / "verify" / "version_0"
        inventory = CheckpointStore(run / CHECKPOINTS).inventory()
        with open(run / "metrics.csv", newline="") as file:
            rows = [{key: value for key, value in row.items() if key not in _TIMES} for row in csv.DictReader(file)]
        target = Lineage.read(run).segments[-1].target
        return cls(sorted(inventory.checkpoints, key=lambda c: c.manifest.timesteps), target, rows, _journals(run))

    def parts(self, checkpoint: Checkpoint) -> dict[str, Any]:
        ranks = [load_rank(checkpoint, rank) for rank in range(checkpoint.manifest.world_size)]
        return by_part(load_lightning(checkpoint), ranks)


def _journals(run: Path) -> dict[str, Any]:
    """Episodes and evaluations as they stand in their files, without the time of day."""
    with open(run / "monitor.csv", newline="") as file:
        next(file)
        episodes = [{key: value for key, value in row.items() if key != "t"} for row in csv.DictReader(file)]
    found: dict[str, Any] = {"monitor.csv": episodes}
    if (run / "evaluations.npz").exists():
        with np.load(run / "evaluations.npz", allow_pickle=False) as stored:
            found["evaluations.npz"] = to_plain({key: stored[key] for key in stored.files})
    return found


def _compare(straight: _Result, stopped: _Result, stops: list[int]) -> None:
    """Compare every iteration's state and metrics; the first difference is the error."""
    parts: dict[str, str] = {}
    in_flight = 0
    for ours, theirs in zip(straight.checkpoints, stopped.checkpoints, strict=False):
        timesteps = ours.manifest.timesteps
        if theirs.manifest.timesteps != timesteps:
            raise NotExact(f"NOT EXACT: a checkpoint at {timesteps:,} against one at {theirs.manifest.timesteps:,}.")
        a, b = straight.parts(ours), stopped.parts(theirs)
        for name in dict.fromkeys([*a, *b]):
            found = first_difference(a.get(name), b.get(name), name)
            if found:
                when = "before the first stop" if timesteps <= stops[0] else "after a stop"
                raise NotExact(f"NOT EXACT at timestep {timesteps:,} ({when}): {found}")
            parts[name] = digest(a[name])
        if timesteps in stops:
            in_flight += sum(_steps_in_flight(part) > 0 for name, part in a.items() if name.startswith("environments"))
    if len(straight.checkpoints) != len(stopped.checkpoints):
        raise NotExact(f"NOT EXACT: {len(straight.checkpoints)} checkpoints against {len(stopped.checkpoints)}.")
    for row_a, row_b in zip(straight.metrics, stopped.metrics, strict=False):
        for key in dict.fromkeys([*row_a, *row_b]):
            if row_a.get(key) != row_b.get(key):
                values = f"{row_a.get(key)} against {row_b.get(key)}"
                raise NotExact(f"NOT EXACT: metric {key} at timestep {row_a['step']}: {values}")
    if len(straight.metrics) != len(stopped.metrics):
        raise NotExact(f"NOT EXACT: {len(straight.metrics)} lines of metrics against {len(stopped.metrics)}.")
    for name, content in straight.journals.items():
        found = first_difference(content, stopped.journals.get(name), name)
        if found:
            raise NotExact(f"NOT EXACT: {found}")
    width = max(len(name) for name in [*parts, *straight.journals])
    for name, value in parts.items():
        print(f"  {name:<{width}}  {value[:16]}  equal")
    print(f"  {'metrics':<{width}}  {len(straight.metrics)} lines        equal")
    for name, content in straight.journals.items():
        print(f"  {name:<{width}}  {digest(content)[:16]}  equal")
    if not in_flight:
        print("NOTE: no episode was in flight at a stop, so bringing one back was not tried; --stop_at moves the stops")
    print("exact: every part of the state is equal to the bit")


def _steps_in_flight(environments: dict[str, Any]) -> int:
    """Steps of episodes that are going on, over all environments of a rank."""
    return sum(len(slot.get("actions", ())) for slot in environments.get("slots", []))
