"""System calls that fail, or kill, one by one over a whole short run: its beginning, logs, history, saves and end.

Whatever happens is a run (0) or one line with its code, and the same command goes on to the same bits.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lit_rl.cli.fit  # noqa: F401  (forks spare the imports)
from lit_rl.algorithms import algorithms
from lit_rl.checkpoint.manifest import name_of
from lit_rl.cli.dispatch import run_command
from lit_rl.errors import EXIT_CONFIG, EXIT_IO
from lit_rl.state.plain import first_difference
from tests.helpers.cli import final_state, lineage, merged, write_config
from tests.helpers.strace import Outcome, forked, needs_strace, traced

pytestmark = [pytest.mark.slow, needs_strace, pytest.mark.timeout(3000)]
algorithms()  # their imports, too

CONFIG: dict[str, Any] = {
    "total_timesteps": 256,
    "env": {"n_envs": 2},
    "model": {"init_args": {"n_steps": 32, "n_epochs": 1}},
    "eval": {"every": 128, "episodes": 1},
    "checkpoint": {"every_timesteps": 64, "keep_last": 1},
}
FAULTS = [
    ("openat", "EACCES"), ("openat", "ENOSPC"), ("mkdir", "ENOSPC"), ("mkdir", "EACCES"), ("rename", "EIO"),
    ("rename", "EACCES"), ("symlink", "ENOSPC"), ("symlink", "EPERM"), ("flock", "ENOLCK"), ("flock", "EIO"),
    ("fsync", "EIO"), ("fsync", "ENOSPC"), ("fsync", "EINVAL"), ("write", "ENOSPC"), ("write", "EIO"),
    ("unlink", "EACCES"), ("rmdir", "EACCES"), ("unlinkat", "EIO"), ("getdents64", "EIO"), ("read", "EIO"),
    ("newfstatat", "EACCES"), ("readlink", "EIO"), ("truncate", "EIO"), ("ftruncate", "EIO"),
]  # fmt: skip
STAGES = ("", ".staging-", ".staging-removed-")
EVERY = int(os.environ.get("LIT_RL_FAULT_STRIDE", "9"))
"""One in so many faults is made; 1 makes them all, which takes half an hour on two cores (``-n 2``)."""


@dataclass
class Short:
    """A short run in a directory of its own, again and again."""

    place: Path
    background: bool = False

    def __post_init__(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        self.config = write_config(self.place, merged(CONFIG, {"checkpoint": {"background": self.background}}))
        self.root = self.place / "runs"
        self.scratch = self.place / "trace"

    def work(self, mode: str, requeue: bool = False) -> None:
        os.dup2(1, 2)
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        words = ["fit", "--config", str(self.config), "--trainer.default_root_dir", str(self.root), "--mode", mode]
        code = run_command([*words, "--requeue", str(requeue).lower()])
        if code != 0:
            raise SystemExit(code)

    def plain(self, mode: str = "fresh", requeue: bool = False) -> Outcome:
        return forked(lambda: self.work(mode, requeue), self.scratch)

    def faulty(self, calls: tuple[str, ...], *inject: str, mode: str = "fresh") -> Outcome:
        return traced(lambda: self.work(mode), self.scratch, *inject, calls=calls)

    def clear(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def points(self, calls: tuple[str, ...], mode: str = "fresh") -> dict[str, list[int]]:
        """Which of the main thread's calls, counted from 1, are on files of the run."""
        outcome = self.faulty(calls, mode=mode)
        assert outcome.code == 0, outcome.out
        seen: Counter[str] = Counter()
        found: dict[str, list[int]] = {}
        for line in outcome.trace:
            match = re.match(rf"{outcome.pid} +(\w+)\(", line)
            if match:
                seen[match[1]] += 1
                if str(self.root) in line:
                    found.setdefault(match[1], []).append(seen[match[1]])
        return found

    def saving(self, call: str, *inject: str) -> Outcome:
        """A run of which only calls on what its saves make are seen, counted and failed."""
        directory = self.root / "run" / "version_0" / "checkpoints"
        places = [directory / f"{kind}{name_of(timesteps, 1)}" for kind in STAGES for timesteps in (64, 128, 192, 256)]
        names = ("", "lightning.ckpt", "rank_00000.pt", "manifest.json")
        paths = [directory, *(directory / f".{link}.staged" for link in ("last", "best"))]
        paths += [place / name for place in places for name in names]
        return traced(lambda: self.work("fresh"), self.scratch, *inject, calls=(call,), paths=paths)

    def points_beside(self, call: str) -> int:
        """How many such calls a thread makes that writes a checkpoint beside training."""
        outcome = self.saving(call)
        assert outcome.code == 0, outcome.out
        made = Counter(match[1] for line in outcome.trace if (match := re.match(rf"(\d+) +{call}\(", line)))
        return max(count for thread, count in made.items() if int(thread) != outcome.pid)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = Short(tmp_path_factory.mktemp("straight"))
    assert run.plain().code == 0
    return run.root / "run" / "version_0"


def newest(root: Path) -> Path:
    return max(root.glob("run/version_*"), key=lambda path: int(path.name.removeprefix("version_")))


def problems(run: Short, outcome: Outcome, straight: Path) -> list[str]:
    """What is wrong with how a run with a fault has ended, and with how it goes on."""
    found = []
    said = [line for line in outcome.out.splitlines() if line.startswith("error: ")]
    if outcome.code not in (0, EXIT_IO, EXIT_CONFIG):
        found.append(f"code {outcome.code}")
    if "Traceback" in outcome.out or outcome.error:
        found.append("a traceback")
    if outcome.code != 0 and (len(said) != 1 or outcome.out.splitlines()[-1] != said[0]):
        found.append(f"{len(said)} lines of errors")
    if outcome.code != 0:
        after = run.plain("resume")
        if after.code == EXIT_CONFIG and "no checkpoint below" in after.out:
            after = run.plain("fresh")
        if after.code != 0:
            return [*found, f"does not go on: {after.code}: {after.out[-600:]} {after.error[-600:]}"]
    ours, theirs = final_state(newest(run.root)), final_state(straight)
    found += [f"{name} differs" for name in theirs if first_difference(ours[name], theirs[name], name) is not None]
    # A fault after the last save: the state is that of the finished run, and the segment's end says what happened.
    if outcome.code == 0 and lineage(newest(run.root))["segments"][-1]["cause"] != "finished":
        found.append("the lineage does not say that it has finished")
    return found


@pytest.mark.parametrize(("call", "error"), FAULTS)
def test_a_call_that_fails(tmp_path: Path, straight: Path, call: str, error: str) -> None:
    run = Short(tmp_path)
    points = run.points((call,)).get(call, [])
    outcomes, wrong = Counter[int](), []
    for made, number in enumerate(points, FAULTS.index((call, error))):
        if made % EVERY:
            continue
        run.clear()
        outcome = run.faulty((call,), f"{call}:error={error}:when={number}")
        outcomes[outcome.code] += 1
        hit = next((line for line in outcome.trace if "(INJECTED)" in line and str(run.root) in line), None)
        wrong += [
            f"{call} {error} {number} ({hit}): {text}\n{outcome.out[-1500:]}\n{outcome.error[-1500:]}"
            for text in problems(run, outcome, straight)
        ]
    with open(os.environ.get("LIT_RL_FAULT_TABLE", os.devnull), "a") as table:
        table.write(f"{call} {error}: {dict(outcomes)} of {len(points)}\n")
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize(
    ("call", "error"),
    [("openat", "EACCES"), ("mkdir", "ENOSPC"), ("rename", "EIO"), ("symlink", "ENOSPC"), ("fsync", "EIO"),
     ("fsync", "ENOSPC"), ("write", "ENOSPC"), ("unlinkat", "EIO"), ("getdents64", "EIO"), ("read", "EIO"),
     ("newfstatat", "EACCES")],
)  # fmt: skip
def test_a_call_that_fails_beside_training(tmp_path: Path, straight: Path, call: str, error: str) -> None:
    """Each thread counts its own calls. The first that makes so many fails: a writer or, at the end, the main one."""
    run, wrong = Short(tmp_path, background=True), []
    for number in range(1, run.points_beside(call) + 1, min(EVERY, 4)):
        run.clear()
        outcome = run.saving(call, f"{call}:error={error}:when={number}")
        wrong += [
            f"{call} {error} {number}: {text}\n{outcome.out[-1500:]}\n{outcome.error[-1500:]}"
            for text in problems(run, outcome, straight)
        ]
    assert not wrong, "\n\n".join(wrong)


def test_a_kill_at_the_first_writes(tmp_path: Path, straight: Path) -> None:
    """Up to the first save there is nothing that a resume, or the same command again, could take for a run."""
    run = Short(tmp_path)
    calls = ("openat", "mkdir", "rename", "flock", "fsync", "write", "symlink", "unlink")
    points, made = run.points(calls), 0
    for call in calls:
        for number in points.get(call, [])[:20]:
            made += 1
            if made % EVERY:
                continue
            run.clear()
            outcome = run.faulty((call,), f"{call}:signal=KILL:when={number}")
            assert outcome.code == -9
            requeue = made // EVERY % 2 == 0
            after = run.plain("fresh" if requeue else "resume", requeue)
            if after.code == EXIT_CONFIG and not requeue:
                assert "no checkpoint below" in after.out
                after = run.plain("fresh")
            assert after.code == 0, f"{call} {number}: {after.out} {after.error}"
            ours, theirs = final_state(newest(run.root)), final_state(straight)
            for name in theirs:
                assert first_difference(ours[name], theirs[name], name) is None
