"""Random signals, kills and full disks at a run of several ranks, under load, until it is finished; then compare.

Each disturbance goes to one rank or to the process group: a stop signal, once or five times, a SIGKILL, a SIGSTOP, or a
disk that takes no more. It comes at a random moment: while the processes start, while a save is being written, once
the last save is there. All ranks must have left within 30 s, with a code that is true, no worker may be left, and the
same command goes on with the run. At its end the state is compared with that of a run nobody disturbed.

    python benchmarks/soak_ranks.py --ranks 3 --disturbances 30 --load 1
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from lit_rl.checkpoint.commit import STAGING_PREFIX
from lit_rl.checkpoint.reader import load_lightning, load_rank
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.state.parts import by_part
from lit_rl.state.plain import first_difference

LIMIT_S = 30.0
"""From a disturbance to the end of the last process."""
RUN: dict[str, Any] = {
    "name": "run",
    "seed_everything": 1,
    "requeue": True,
    "total_timesteps": 30_000,
    "env": {"id": "CartPole-v1", "n_envs": 6, "backend": "async", "n_workers": 1},
    "model": {
        "class_path": "PPO",
        "init_args": {"n_steps": 128, "batch_size": 128, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}},
    },
    "checkpoint": {"every_timesteps": 2048, "keep_last": 2},
    "trainer": {"accelerator": "cpu", "strategy": "ddp"},
}
STOPS = ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"]
KINDS = [*STOPS, "SIGTERM x5", "SIGUSR1 x5", "SIGKILL", "SIGKILL", "SIGKILL", "SIGSTOP", "full disk"]
MOMENTS = ["at the start", "in training", "in training", "in a save", "at the end"]
LAST = f"t{-(-RUN['total_timesteps'] // 768) * 768:010d}"
"""What the last checkpoint's name begins with."""


def start(cwd: Path, name: str, ranks: int, full: bool = False) -> subprocess.Popen[bytes]:
    def limit() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup would have it ignored, and the run would go on
        if full:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    command = [sys.executable, "-m", "lit_rl", "fit", "--config", "run.yaml", "--name", name]
    return subprocess.Popen(
        [*command, "--trainer.devices", str(ranks)], cwd=cwd, start_new_session=True,
        stdout=subprocess.DEVNULL if full else open(cwd / f"{name}.out", "ab"),
        stderr=subprocess.DEVNULL if full else open(cwd / f"{name}.err", "ab"),
        env={**os.environ, "OMP_NUM_THREADS": "1"}, preexec_fn=limit,
    )  # fmt: skip


def group(pid: int) -> list[int]:
    """Processes of a session that are alive."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def ranks_of(pid: int) -> dict[int, int]:
    """The processes of the ranks that there are, by rank."""
    ranks = {0: pid}
    for each in group(pid):
        try:
            environ = Path(f"/proc/{each}/environ").read_bytes().split(b"\0")
            command = Path(f"/proc/{each}/cmdline").read_bytes()
        except OSError:
            continue
        local = next((word.partition(b"=")[2] for word in environ if word.startswith(b"LOCAL_RANK=")), b"")
        if local.isdigit() and int(local) and b"lit_rl" in command and b"multiprocessing" not in command:
            ranks[int(local)] = each
    return ranks


def names_in(directory: Path) -> set[str]:
    try:
        return set(os.listdir(directory))
    except OSError:
        return set()


def wait_until(process: subprocess.Popen[bytes], moment: str, run: Callable[[], Path], rng: random.Random) -> bool:
    """Wait for a moment; says whether the run was still there."""
    waits = {"at the start": rng.uniform(0.0, 7.0), "in training": rng.uniform(6.0, 16.0)}
    end = time.monotonic() + waits.get(moment, 60.0)
    skip = rng.randint(0, 4)
    seen: set[str] = set()
    time.sleep(1.0)  # before Python has come as far as our first line, a signal is the system's
    while time.monotonic() < end:
        if process.poll() is not None:
            return False
        names = names_in(run() / "checkpoints")
        if moment == "in a save":
            seen |= {name for name in names if name.startswith(STAGING_PREFIX)}
            if len(seen) > skip:
                break
        if moment == "at the end" and any(name[:11] == LAST for name in names):
            break
        time.sleep(0.002 if moment in ("in a save", "at the end") else 0.05)
    return process.poll() is None


def true_codes(kind: str, whom: int | None) -> set[int]:
    """What rank 0 may exit with. 0: it had finished."""
    name = kind.partition(" ")[0]
    if kind == "full disk":
        return {74, 0}
    if name in ("SIGKILL", "SIGSTOP"):
        return {-signal.SIGKILL} if whom in (0, None) else {1, 0}
    codes = {75, 0}
    return codes | {130} if name == "SIGINT" else codes


def disturb(
    process: subprocess.Popen[bytes], kind: str, moment: str, size: int, run: Callable[[], Path], rng: random.Random
) -> tuple[str, float] | None:
    """Wait for a moment, then do harm.

    Returns:
        to whom, and the seconds until all had left; `None` if the run had ended by then.
    """
    if kind != "full disk" and not wait_until(process, moment, run, rng):
        return None
    name, _, times = kind.partition(" x")
    ranks = ranks_of(process.pid)
    whom = rng.choice([*range(size), *([] if name == "SIGSTOP" else [None])])
    if whom not in ranks and whom is not None:
        whom = 0
    begin, stopped = time.monotonic(), None
    if kind == "full disk":
        whom = None
    else:
        for _ in range(int(times or 1)):
            try:
                if whom is None:
                    os.killpg(process.pid, getattr(signal, name))
                else:
                    os.kill(ranks[whom], getattr(signal, name))
            except ProcessLookupError:
                break
            time.sleep(rng.uniform(0.0, 0.2) if times else 0.0)
        stopped = ranks[whom] if name == "SIGSTOP" and whom is not None else None
    limit = 120.0 if kind == "full disk" else LIMIT_S  # there the start counts too
    while any(pid != stopped for pid in ranks_of(process.pid).values() if pid in group(process.pid)):
        if time.monotonic() > begin + limit:
            raise SystemExit(f"HANG: {kind} {moment} to {whom}: {group(process.pid)} are there after {limit:g} s")
        time.sleep(0.1)
    seconds = time.monotonic() - begin
    if stopped is not None and Path(f"/proc/{stopped}").exists():
        os.kill(stopped, signal.SIGKILL)
    process.wait()
    time.sleep(1.5)
    left = group(process.pid)
    if left:
        raise SystemExit(f"LEFT BEHIND after {kind} {moment} to {whom}: {left}")
    code, saved = process.returncode, names_in(run() / "checkpoints")
    if code not in true_codes(kind, whom) or (code == 0 and not any(name[:11] == LAST for name in saved)):
        raise SystemExit(f"WRONG CODE: {kind} {moment} to {whom}: {code}")
    return "all" if whom is None else f"rank {whom}", seconds


def state(cwd: Path, name: str, ranks: int) -> dict[str, Any]:
    store = CheckpointStore(newest_run(cwd, name) / "checkpoints")
    checkpoint = store.newest_good(strict=True)[0]
    assert checkpoint is not None
    return by_part(load_lightning(checkpoint), [load_rank(checkpoint, rank) for rank in range(ranks)])


def newest_run(cwd: Path, name: str) -> Path:
    """The run directory of a name; one that was killed before its first checkpoint is begun again in the next."""
    versions = list((cwd / "lightning_logs" / name).glob("version_*"))
    return max(versions, key=lambda path: int(path.name.removeprefix("version_")), default=cwd / "none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--disturbances", type=int, default=30)
    parser.add_argument("--load", type=int, default=1, help="processes that do nothing but use up a core")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, ranks = random.Random(arguments.seed), arguments.ranks
    load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(arguments.load)]
    done: Counter[str] = Counter()
    codes: defaultdict[str, Counter[int]] = defaultdict(Counter)
    took: defaultdict[str, list[float]] = defaultdict(list)
    runs = lost = 0
    begin = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="lit_rl_soak_") as directory:
            cwd = Path(directory)
            (cwd / "run.yaml").write_text(yaml.safe_dump(RUN))
            if start(cwd, "straight", ranks).wait() != 0:
                raise SystemExit((cwd / "straight.err").read_text())
            expected = state(cwd, "straight", ranks)
            while sum(done.values()) < arguments.disturbances:
                name = f"run_{runs}"
                runs += 1
                while True:
                    over = sum(done.values()) >= arguments.disturbances
                    kind, moment = rng.choice(KINDS), rng.choice(MOMENTS)
                    process = start(cwd, name, ranks, full=kind == "full disk" and not over)
                    what = None if over else disturb(process, kind, moment, ranks, partial(newest_run, cwd, name), rng)
                    if what is not None:
                        row = f"{kind} | {moment}"
                        done[row] += 1
                        codes[row][process.returncode] += 1
                        took[row].append(what[1])
                        said = f"{row} to {what[0]}: all left within {what[1]:.1f} s, exit code {process.returncode}"
                        print(f"{sum(done.values()):>3} {name}: {said}", flush=True)
                    elif process.wait() not in (0, 75):
                        raise SystemExit(f"LOST: {process.returncode}\n{(cwd / f'{name}.err').read_text()}")
                    if process.returncode == 0:
                        break
                found = first_difference(expected, state(cwd, name, ranks))
                lost += found is not None
                print(f"{name} finished: {'equal to the bit' if found is None else found}", flush=True)
    finally:
        for process in load:
            process.kill()
    minutes = (time.monotonic() - begin) / 60
    print(f"\n{sum(done.values())} disturbances of {runs} runs of {ranks} ranks in {minutes:.0f} minutes")
    for row, count in sorted(done.items()):
        said = ", ".join(f"{code}: {times}" for code, times in sorted(codes[row].items()))
        print(f"| {row} | {count} | {said} | {min(took[row]):.1f} to {max(took[row]):.1f} s |")
    print(f"hangs: 0, left behind: 0, wrong codes: 0, runs that differ: {lost}")
    raise SystemExit(1 if lost else 0)


if __name__ == "__main__":
    main()
