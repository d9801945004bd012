"""`verify`: prove on the user's own configuration that a stopped and resumed run equals one that was not stopped.

Every run is a process of its own; the one that is not stopped is started the way a user starts it.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lit_rl.checkpoint.manifest import Checkpoint
from lit_rl.checkpoint.reader import load_lightning, load_rank
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.cli.processes import run_apart, run_forked
from lit_rl.cli.text import read_yaml
from lit_rl.errors import EXIT_OK, EXIT_STOPPED, ConfigError, LitRLError
from lit_rl.run.directory import CHECKPOINTS
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
    parser.add_argument("--stops", type=int, default=1, help="how many times it is stopped (default: %(default)s)")
    parser.add_argument(
        "--stop_at",
        default=None,
        help="stop at these timesteps instead, such as 8192,16384",
    )
    parser.add_argument("--keep", default=None, help="keep the runs in this directory")
    arguments, others = parser.parse_known_args(argv)
    if not arguments.config:
        raise ConfigError("verify needs a configuration: lit-rl verify --config run.yaml")
    for path in arguments.config:
        read_yaml(Path(path))
    if arguments.stops < 1 or arguments.iterations <= arguments.stops:
        raise ConfigError(f"--stops is {arguments.stops}; give at least 1, and more --iterations than stops.")
    stop_at = None if arguments.stop_at is None else _timesteps(arguments.stop_at)
    fit_argv = [part for path in arguments.config for part in ("--config", str(Path(path).resolve()))] + others
    if arguments.keep is not None:
        _verify(Path(arguments.keep), fit_argv, arguments.iterations, arguments.stops, stop_at)
    else:
        with tempfile.TemporaryDirectory(prefix="lit_rl_verify_") as directory:
            _verify(Path(directory), fit_argv, arguments.iterations, arguments.stops, stop_at)
    return EXIT_OK


def _timesteps(text: str) -> list[int]:
    given = text.split(",")
    if not all(each.strip().isdecimal() for each in given):
        raise ConfigError(f"--stop_at is '{text}'; give timesteps with commas between them, such as 8192,16384.")
    return sorted({int(each) for each in given})


def _verify(root: Path, fit_argv: list[str], iterations: int, stops: int, stop_at: list[int] | None) -> None:
    # Saving every iteration changes nothing that is learned, and lets every iteration be compared.
    fit_argv = [*fit_argv, "--checkpoint.every_timesteps", "1", "--checkpoint.keep_last", str(iterations + 1)]
    stopped = root / "stopped"
    _fit(stopped, fit_argv, "fresh", pause_at=1)
    length = _Result.of(stopped).checkpoints[-1].manifest.timesteps
    at = [length * (1 + (iterations - 1) * i // stops) for i in range(stops)]
    end = length * iterations
    if stop_at is not None:
        if not 0 < stop_at[0] <= stop_at[-1] <= end - length:
            raise ConfigError(
                f"--stop_at goes from {stop_at[0]:,} to {stop_at[-1]:,}, and the run has {iterations} iterations of "
                f"{length:,}: give timesteps up to {end - length:,}, or more --iterations."
            )
        at = sorted({length, *(-(-timestep // length) * length for timestep in stop_at)})
    for here, following in zip(at, [*at[1:], end], strict=True):
        print(f"stopped at timestep {here:,}, resumed to {following:,}", flush=True)
        _fit(stopped, fit_argv, "resume", pause_at=following)
    print(f"straight to timestep {end:,} in {iterations} iterations", flush=True)
    _fit(root / "straight", fit_argv, "fresh", pause_at=end, apart=True)
    _compare(_Result.of(root / "straight"), _Result.of(stopped), at[0])


def _fit(root: Path, fit_argv: list[str], mode: str, pause_at: int, apart: bool = False) -> None:
    """Train in a process of its own up to `pause_at`. The run's target, and with it its schedules, stay as they are.

    Args:
        root: where the run lies.
        fit_argv: the configuration, as arguments of `fit`.
        mode: how it begins.
        pause_at: timestep.
        apart: start the process as a user does, instead of forking it.
    """
    command = ["fit", *fit_argv, "--mode", mode, "--pause_at", str(pause_at)]
    command += ["--name", "verify", "--trainer.default_root_dir", str(root)]
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
    metrics: list[dict[str, str]]
    journals: dict[str, Any]

    @classmethod
    def of(cls, root: Path) -> _Result:
        run = root / "verify" / "version_0"
        inventory = CheckpointStore(run / CHECKPOINTS).inventory()
        with open(run / "metrics.csv", newline="") as file:
            rows = [{key: value for key, value in row.items() if key not in _TIMES} for row in csv.DictReader(file)]
        return cls(sorted(inventory.checkpoints, key=lambda c: c.manifest.timesteps), rows, _journals(run))

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


def _compare(straight: _Result, stopped: _Result, since: int) -> None:
    """Compare every iteration's state and metrics; the first difference is the error."""
    pairs = list(zip(straight.checkpoints, stopped.checkpoints, strict=True))
    parts: dict[str, str] = {}
    for ours, theirs in pairs:
        timesteps = ours.manifest.timesteps
        if theirs.manifest.timesteps != timesteps:
            raise NotExact(f"NOT EXACT: a checkpoint at {timesteps:,} against one at {theirs.manifest.timesteps:,}.")
        a, b = straight.parts(ours), stopped.parts(theirs)
        for name in a:
            found = first_difference(a[name], b[name], name)
            if found:
                when = "before the first stop" if timesteps <= since else "after a stop"
                raise NotExact(f"NOT EXACT at timestep {timesteps:,} ({when}): {found}")
            parts[name] = digest(a[name])
    for row_a, row_b in zip(straight.metrics, stopped.metrics, strict=True):
        for key, value in row_a.items():
            if row_b.get(key) != value:
                raise NotExact(f"NOT EXACT: metric {key} at timestep {row_a['step']}: {value} against {row_b.get(key)}")
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
    print("exact: every part of the state is equal to the bit")
