"""One round of the soak: a short run, its attempts, and what disturbs them. See soak.py."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import collections
import csv
import random
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soak_history
import torch
import yaml
from soak_history import Lost

import lit_rl.cli.fit  # the imports that every attempt needs
from lit_rl.checkpoint.manifest import Checkpoint
from lit_rl.checkpoint.reader import load_lightning, load_rank
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.cli.dispatch import run_command
from lit_rl.errors import EXIT_CONFIG, EXIT_IO, EXIT_OK, EXIT_STOPPED
from lit_rl.run.directory import has_checkpoint, versions_of
from lit_rl.run.lineage import Lineage
from lit_rl.state.parts import by_part
from lit_rl.state.plain import digest

assert lit_rl.cli.fit
torch.set_num_threads(1)

FIRST, ITERATIONS, STEPS = 10, 20, 128
"""Iterations to the target that a run begins with, and to the one that it is given there; timesteps of one."""
CONFIG: dict[str, Any] = {
    "name": "soak",
    "total_timesteps": FIRST * STEPS,
    "env": {
        "id": "CartPole-v1", "n_envs": 4, "backend": "sync", "normalize": {"obs": True, "reward": True},
    },
    "model": {
        "class_path": "PPO",
        "init_args": {
            "n_steps": 32, "batch_size": 64, "n_epochs": 2, "learning_rate": "lin_1e-3",
            "policy_kwargs": {"net_arch": [8]},
        },
    },
    "checkpoint": {"every_timesteps": STEPS, "keep_last": 3},
    "eval": {"every": 5 * STEPS, "episodes": 2},
}  # fmt: skip
SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")
CALLS = ("mkdir", "openat", "write", "fsync", "close", "rename", "unlinkat", "unlink", "rmdir", "read")
"""What one save asks of the file system, on its own paths."""
LINKS = "links"
LIMIT_S = 60.0


@dataclass
class Attempt:
    """One process lifetime: how it ended, and what it said."""

    code: int
    text: str
    inside_save: bool = False


@dataclass
class Tally:
    """What came of the faults of one kind."""

    faults: int = 0
    landed: int = 0
    inside_save: int = 0
    staging_left: int = 0
    codes: collections.Counter[int] = field(default_factory=collections.Counter)


class Round:
    """One run in a directory of its own, disturbed until it has had its faults and then left to finish.

    Args:
        root: the directory.
        seed: of the run.
        chance: the stream of faults.
        duration: seconds that the undisturbed run took.
        calls: how often each call is made in one save.
    """

    def __init__(self, root: Path, seed: int, chance: random.Random, duration: float, calls: dict[str, int]) -> None:
        self.root, self.chance, self._duration, self._calls = root, chance, duration, calls
        self.place = root
        """Where its runs lie: below here, until they are copied to elsewhere."""
        self.parents: dict[Path, str] = {}
        """What was forked from, by its content then."""
        root.mkdir(parents=True)
        self.config = root / "run.yaml"
        self.config.write_text(yaml.safe_dump({**CONFIG, "seed_everything": seed}))
        self.log: list[str] = []

    # -- the run ----------------------------------------------------------------------------------------------------

    @property
    def directory(self) -> Path | None:
        """The newest run directory that has a checkpoint, as `resume` takes it."""
        runs = [run for run in versions_of(self.place, "soak") if has_checkpoint(run)]
        return runs[0] if runs else None

    @property
    def store(self) -> CheckpointStore:
        return CheckpointStore((self.directory or self.place) / "checkpoints")

    def newest(self) -> int:
        """Timestep of the newest good checkpoint; 0 before there is one."""
        found, _ = self.store.newest_good()
        return 0 if found is None else found.manifest.timesteps

    first_target = FIRST * STEPS

    @property
    def has_new_target(self) -> bool:
        """Whether its lineage says that it goes on to the end."""
        return self.directory is not None and Lineage.read(self.directory).segments[-1].target == ITERATIONS * STEPS

    @property
    def finished(self) -> bool:
        """Whether it has come to the end."""
        return self.newest() == ITERATIONS * STEPS

    @property
    def last_iteration(self) -> int:
        """Where the next attempt ends if nothing happens."""
        return ITERATIONS if self.newest() >= FIRST * STEPS or self.has_new_target else FIRST

    def words(self) -> list[str]:
        """How the next attempt begins: at its first target a run is given the next, once."""
        if not self.newest():
            return ["--mode", "fresh"]
        asked = self.newest() == FIRST * STEPS and not self.has_new_target
        return ["--mode", "resume", *(self.next_target() if asked else [])]

    def next_target(self) -> list[str]:
        """The next target, in one of the two ways to say it."""
        more = f"--resume.additional_timesteps={(ITERATIONS - FIRST) * STEPS}"
        return [
            self.chance.choice([more, f"--resume.total_timesteps={ITERATIONS * STEPS}"]),
            "--resume.schedule=stretch",
        ]

    def start(
        self, limit_bytes: int | None = None, wait_for_tracer: bool = False, words: list[str] | None = None
    ) -> tuple[int, int, Path]:
        """Fork a process that runs `lit-rl fit`; returns its id, a pipe that lets it go, and where it writes."""
        words = self.words() if words is None else words
        words = ["fit", "--config", str(self.config), "--trainer.default_root_dir", str(self.place), *words]
        said = self.root / f"said-{len(self.log):03d}"
        hold, go = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(descriptor, 1)
                os.dup2(descriptor, 2)
                os.close(go)
                sys.argv = ["lit-rl", *words]
                if limit_bytes is not None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
                if wait_for_tracer:
                    os.read(hold, 1)
                code = run_command(words)
            except BaseException:
                import traceback

                os.write(2, traceback.format_exc().encode())
            finally:
                try:
                    sys.stdout.flush()
                    sys.stderr.flush()
                finally:
                    os._exit(code)
        os.close(hold)
        return child, go, said

    def wait(self, child: int, go: int, said: Path) -> Attempt:
        """Wait until the process is gone."""
        end = time.monotonic() + LIMIT_S
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise Lost(f"an attempt hung for {LIMIT_S} s: {said}")
            time.sleep(0.002)
        os.close(go)
        text = said.read_text(errors="replace") if said.exists() else ""  # killed before it could say anything
        return Attempt(os.waitstatus_to_exitcode(status), text)

    def run(self, words: list[str] | None = None) -> Attempt:
        """One undisturbed attempt."""
        return self.wait(*self.start(words=words))

    def finish(self) -> int:
        """Undisturbed attempts until it has come to the end. Returns how many.

        Raises:
            Lost: it does not go on.
        """
        for count in range(1, 6):
            held, words = self.has_new_target, self.words()
            attempt = self.run(words)
            if attempt.code not in (EXIT_OK, EXIT_CONFIG) or (attempt.code == EXIT_CONFIG and self.newest()):
                raise Lost(f"an undisturbed resume left with {attempt.code}: {attempt.text[-1500:]}")
            if self.finished:
                return count
            if attempt.code == EXIT_OK and (held or self.newest() != FIRST * STEPS):
                raise Lost(f"{words} ended at {self.newest()}, and its target is another: {attempt.text[-1500:]}")
        raise Lost("it never comes to the end")

    # -- the faults -------------------------------------------------------------------------------------------------

    def signalled(self, number: signal.Signals, words: list[str] | None = None) -> Attempt:
        last = self.last_iteration
        iteration = self.chance.randint(min(self.newest() // STEPS, last - 1), last - 1)
        child, go, said = self.start(words=words)
        if words is not None or iteration == 0 or self.chance.random() < 0.2:
            time.sleep(self.chance.uniform(0.0, self._remaining() if words is None else 1.3 * self._duration))
        else:
            end = time.monotonic() + LIMIT_S
            while self._alive(child) and not self._reached(iteration) and time.monotonic() < end:
                time.sleep(0.001)
            time.sleep(self.chance.uniform(0.0, self._duration / ITERATIONS))
        os.kill(child, number)
        return self.wait(child, go, said)

    @staticmethod
    def _alive(child: int) -> bool:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def _reached(self, iteration: int) -> bool:
        """Whether the newest segment has saved after this iteration."""
        found = self.store.directory.glob(f"t{iteration * STEPS:010d}-s*") if self.store.directory.is_dir() else ()
        return any(found)

    def _remaining(self) -> float:
        share = 1.0 - self.newest() / (ITERATIONS * STEPS)
        return self._duration * (0.35 + 0.65 * share)

    def traced(self, fault: str, call: str, when: str, soon: bool = False) -> tuple[Attempt, bool]:
        """An attempt with a fault at a system call of one of its saves; says whether it struck."""
        lineage = Lineage.read(self.directory) if self.newest() and self.directory else None
        segment = 1 if lineage is None else len(lineage.segments) + 1
        first, last = min(self.newest() // STEPS + 1, self.last_iteration), self.last_iteration
        iteration = first if soon else self.chance.randint(first, last)
        # A fresh run makes the next version.
        versions = len(list(self.place.glob("soak/version_*")))
        run = self.directory if lineage is not None else self.place / "soak" / f"version_{versions}"
        child, go, said = self.start(wait_for_tracer=True)
        assert run is not None
        store = CheckpointStore(run / "checkpoints")
        final = store.place(iteration * STEPS, segment)
        staging = final.with_name(f".staging-{final.name}")
        names = ("", "/lightning.ckpt", "/rank_00000.pt", "/manifest.json")
        pruned = [
            store.directory / f".staging-removed-{store.place(earlier * STEPS, past).name}"
            for earlier in range(iteration - 4, iteration)
            for past in range(1, segment + 1)
        ]
        paths = [f"{place}{name}" for place in (staging, final) for name in names] + [str(path) for path in pruned]
        if call == LINKS:  # of any save
            call = "symlink,rename,unlink"
            paths = [str(store.directory / name) for name in (".last.staged", ".best.staged")]
        words = [word for path in paths for word in ("-P", path)]
        trace = self.root / f"trace-{len(self.log):03d}"
        command = ["strace", "-f", "-o", str(trace), *words, "-e", f"inject={call}:{fault}:when={when}"]
        tracer = subprocess.Popen([*command, "-p", str(child)], stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        lines = [tracer.stderr.readline()]
        while "attached" not in lines[-1] and lines[-1]:
            lines.append(tracer.stderr.readline())
        if "attached" not in lines[-1]:
            raise RuntimeError(f"strace: {lines}")
        os.write(go, b"x")
        attempt = self.wait(child, go, said)
        tracer.communicate()
        written = trace.read_text()
        killed = "signal=" in fault and attempt.code == -signal.SIGKILL
        attempt.inside_save = killed and bool(written.strip())
        return attempt, killed or "(INJECTED)" in written

    def damaged(self, how: str) -> bool:
        """Damage a file of the newest checkpoint, where an older one is there to go back to."""
        checkpoints = self.store.inventory().checkpoints
        if len(checkpoints) < 2:
            return False
        file = self.chance.choice(sorted(checkpoints[0].path.iterdir()))
        data = bytearray(file.read_bytes())
        if how == "truncated":
            data = data[: self.chance.choice([0, 1, len(data) // 2, self.chance.randrange(len(data)), len(data) - 1])]
        else:
            bit = self.chance.randrange(8 * len(data))
            data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        return True

    def next_kind(self) -> str:
        """What comes next: damage only where an older checkpoint is there to go back to."""
        at_first = self.newest() == FIRST * STEPS and not self.has_new_target
        if at_first and self.chance.random() < 0.7:
            return "target"
        older = len(self.store.inventory().checkpoints) > 1
        while True:
            kind = self.chance.choices(list(KINDS), list(KINDS.values()))[0]
            if kind in ("truncated", "bit flipped", "going back") and not older:
                continue
            if (kind == "target" and not at_first) or (kind in ("fork", "copy") and not self.newest()):
                continue
            return kind

    def disturb(self, kind: str, tally: Tally) -> bool:
        """One fault and what follows; returns whether the run finished all the same."""
        before = self.newest()
        tally.faults += 1
        struck = True
        expected = {EXIT_OK, EXIT_STOPPED, -signal.SIGKILL}
        floor = before
        if kind in soak_history.KINDS:
            attempt, struck, floor = getattr(soak_history, kind.replace(" ", "_"))(self)
        elif kind in SIGNALS:
            number = getattr(signal, kind)
            attempt = self.signalled(number)
            # Before the run takes signals over they end the process as they always do.
            expected |= {-number, 130}
            struck = attempt.code != EXIT_OK
        elif kind == "SIGKILL":
            attempt = self.signalled(signal.SIGKILL)
            struck = attempt.code == -signal.SIGKILL
        elif kind == "SIGKILL in a save":
            often = {"mkdir": 3, "write": 3, "fsync": 3, "rename": 3}  # most others are in reading it back
            weighted = [call for call, count in self._calls.items() for _ in range(min(count, 6) * often.get(call, 1))]
            call = self.chance.choice([*weighted, *[LINKS] * 3])
            most = self._calls.get(call, 2 * (ITERATIONS - before // STEPS))
            attempt, struck = self.traced("signal=KILL", call, str(self.chance.randint(1, most)))
            tally.inside_save += attempt.inside_save
            tally.staging_left += any(
                name.startswith(".staging-t") for name in os.listdir(self.store.directory)
            ) if self.store.directory.is_dir() else 0  # fmt: skip
        elif kind in ("EIO", "disk full"):
            if kind == "disk full" and self.chance.random() < 0.5:
                attempt = self.wait(*self.start(limit_bytes=4000))
            else:
                call = "fsync" if kind == "EIO" else self.chance.choice(["write", "fsync"])
                error = "EIO" if kind == "EIO" else "ENOSPC"
                number = self.chance.randint(1, self._calls[call])
                attempt, struck = self.traced(f"error={error}", call, f"{number}+")
            expected = {EXIT_OK, EXIT_IO}
            if attempt.code == EXIT_IO and not attempt.text.strip().splitlines()[-1].startswith("error: "):
                raise Lost(f"no line on standard error: {attempt.text[-500:]}")
        else:
            struck = self.damaged(kind)
            newest = self.store.inventory().checkpoints
            floor = newest[1].manifest.timesteps if struck and len(newest) > 1 else 0
            if struck and newest[0].manifest.timesteps != before:  # its manifest is what was damaged
                floor = newest[0].manifest.timesteps
            attempt = self.run()
            expected = {EXIT_OK}
            if struck and "digest mismatch" not in attempt.text and "damaged" not in attempt.text:
                raise Lost(f"damage was not named: {attempt.text[-500:]}")
        tally.landed += struck
        tally.codes[attempt.code] += 1
        self.log.append(f"{kind}: code {attempt.code}, {before} -> {self.newest()}")
        if "Traceback" in attempt.text:
            raise Lost(f"a traceback: {attempt.text[-3000:]}")
        if attempt.code not in expected:
            raise Lost(f"code {attempt.code} after {kind}: {attempt.text[-1000:]}")
        if self.newest() < floor:
            raise Lost(f"{kind}: the newest good checkpoint was at {before}, now at {self.newest()}")
        return attempt.code == EXIT_OK and self.finished

    # -- the end ----------------------------------------------------------------------------------------------------

    def result(self) -> dict[str, str]:
        """Digests of every part of the final state, of the metrics and of the episodes."""
        run, found = self.directory, self.store.newest_good()[0]
        assert run is not None
        assert found is not None
        if found.manifest.timesteps != ITERATIONS * STEPS:
            raise Lost(f"finished at {found.manifest.timesteps}")
        left = [path.name for place in (run, run / "checkpoints") for path in place.glob(".*") if path.name != ".lock"]
        if left:
            raise Lost(f"debris is left: {left}")
        for parent, before in self.parents.items():
            if soak_history.content(parent) != before:
                raise Lost(f"{parent} was forked from, and has changed")
        return {name: digest(part) for name, part in _parts(found).items()} | {
            "metrics.csv": digest(_rows(run / "metrics.csv", 0, ("time/fps", "time/time_elapsed"))),
            "monitor.csv": digest(_rows(run / "monitor.csv", 1, ("t",))),
        }


def _parts(checkpoint: Checkpoint) -> dict[str, Any]:
    return by_part(load_lightning(checkpoint), [load_rank(checkpoint, 0)])


def _rows(path: Path, skip: int, but: tuple[str, ...]) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        for _ in range(skip):
            next(file)
        return [{key: value for key, value in row.items() if key not in but} for row in csv.DictReader(file)]


KINDS = {
    **dict.fromkeys(SIGNALS, 2),
    "SIGKILL": 6,
    "SIGKILL in a save": 18,
    "EIO": 3,
    "disk full": 3,
    "truncated": 3,
    "bit flipped": 3,
    **dict.fromkeys(soak_history.KINDS, 7),
}
"""Each kind of fault, and how often it comes."""


def calls_of_a_save(root: Path) -> dict[str, int]:
    """How often each call is made in one save, found by tracing one."""
    watched = Round(root, 0, random.Random(0), 1.0, {})
    attempt, _ = watched.traced("error=EIO", "fsync", "99")
    assert attempt.code == EXIT_OK, attempt.text
    found = collections.Counter(re.findall(r"^\d+ +(\w+)\(", (root / "trace-000").read_text(), re.MULTILINE))
    return {call: found[call] for call in CALLS if found[call]}
