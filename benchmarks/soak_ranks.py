"""Random signals and kills at a run of two ranks, under load, until it is finished; then compare.

Each disturbance is a stop signal, a SIGKILL or a SIGSTOP, to one rank or to the process group, at a random moment from
the first second of the process to late in training. All ranks must have left within 30 s of a loss, no worker may be
left, and the same command goes on with the run. At its end the state is compared with that of a run nobody disturbed.

    python benchmarks/soak_ranks.py --disturbances 30 --load 2
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from lit_rl.checkpoint.reader import load_lightning, load_rank
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.state.parts import by_part
from lit_rl.state.plain import first_difference

LIMIT_S = {"SIGKILL": 30.0, "SIGSTOP": 30.0}
"""A lost rank is a matter of seconds."""
SLOW_S = 120.0
"""A stop signal waits for the end of an iteration, and before the first for all ranks to have started, under load."""
RUN: dict[str, Any] = {
    "name": "run",
    "seed_everything": 1,
    "requeue": True,
    "total_timesteps": 200_000,
    "env": {"id": "CartPole-v1", "n_envs": 4, "backend": "async", "n_workers": 1},
    "model": {
        "class_path": "PPO",
        "init_args": {"n_steps": 256, "batch_size": 128, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}},
    },
    "checkpoint": {"every_timesteps": 4096, "keep_last": 2},
    "trainer": {"devices": 2, "accelerator": "cpu", "strategy": "ddp"},
}
SIGNALS = ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP", "SIGKILL", "SIGSTOP"]


def start(cwd: Path, name: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "lit_rl", "fit", "--config", "run.yaml", "--name", name]
    return subprocess.Popen(
        command, cwd=cwd, start_new_session=True, stdout=open(cwd / f"{name}.out", "ab"),
        stderr=open(cwd / f"{name}.err", "ab"), env={**os.environ, "OMP_NUM_THREADS": "1"},
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


def ranks_of(pid: int) -> list[int]:
    """The processes of both ranks, or of the first alone while there is no other."""
    ranks = [pid]
    for each in group(pid):
        try:
            environ = Path(f"/proc/{each}/environ").read_bytes()
            command = Path(f"/proc/{each}/cmdline").read_bytes()
        except OSError:
            continue
        if b"LOCAL_RANK=1" in environ and b"lit_rl" in command and b"multiprocessing" not in command:
            ranks.append(each)
    return ranks


def disturb(process: subprocess.Popen[bytes], rng: random.Random) -> tuple[str, float] | None:
    """Wait a while, then do harm.

    Returns:
        what was done, and the seconds until all had left; `None` if the run had ended by then.
    """
    try:
        process.wait(rng.uniform(1.0, 25.0))
    except subprocess.TimeoutExpired:
        pass
    else:
        return None
    name, ranks = rng.choice(SIGNALS), ranks_of(process.pid)
    whom = rng.choice(["rank 0", "rank 1", "all"]) if len(ranks) > 1 else "rank 0"
    if whom == "all" and name == "SIGSTOP":
        whom = "rank 1"
    try:
        if whom == "all":
            os.killpg(process.pid, getattr(signal, name))
        else:
            os.kill(ranks[int(whom[-1])], getattr(signal, name))
    except ProcessLookupError:
        return None
    stopped = ranks[int(whom[-1])] if name == "SIGSTOP" else None
    limit, begin = LIMIT_S.get(name, SLOW_S), time.monotonic()
    while any(pid != stopped for pid in ranks if Path(f"/proc/{pid}").exists() and pid in group(process.pid)):
        if time.monotonic() > begin + limit:
            raise SystemExit(f"HANG: {name} to {whom}, and after {limit:g} s {group(process.pid)} are still there")
        time.sleep(0.1)
    seconds = time.monotonic() - begin
    if stopped is not None and Path(f"/proc/{stopped}").exists():
        os.kill(stopped, signal.SIGKILL)
    process.wait()
    time.sleep(1.5)
    left = group(process.pid)
    if left:
        raise SystemExit(f"LEFT BEHIND after {name} to {whom}: {left}")
    return f"{name} to {whom}", seconds


def state(cwd: Path, name: str) -> dict[str, Any]:
    store = CheckpointStore(cwd / "lightning_logs" / name / "version_0" / "checkpoints")
    checkpoint = store.newest_good(strict=True)[0]
    assert checkpoint is not None
    return by_part(load_lightning(checkpoint), [load_rank(checkpoint, rank) for rank in range(2)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--disturbances", type=int, default=30)
    parser.add_argument("--load", type=int, default=2, help="processes that do nothing but use up a core")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(arguments.load)]
    done: Counter[str] = Counter()
    runs = lost = 0
    begin = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="lit_rl_soak_") as directory:
            cwd = Path(directory)
            (cwd / "run.yaml").write_text(yaml.safe_dump(RUN))
            straight = start(cwd, "straight")
            if straight.wait() != 0:
                raise SystemExit((cwd / "straight.err").read_text())
            expected = state(cwd, "straight")
            while sum(done.values()) < arguments.disturbances:
                name = f"run_{runs}"
                runs += 1
                while True:
                    process = start(cwd, name)
                    left = arguments.disturbances - sum(done.values())
                    what = disturb(process, rng) if left > 0 else None
                    if what is not None:
                        done[what[0]] += 1
                        took = f"all left within {what[1]:.1f} s, exit code {process.returncode}"
                        print(f"{sum(done.values()):>3} {name}: {what[0]}, {took}", flush=True)
                    elif process.wait() == 0:
                        break
                    elif process.returncode not in (75,):
                        raise SystemExit(f"LOST: exit code {process.returncode}\n{(cwd / f'{name}.err').read_text()}")
                versions = list((cwd / "lightning_logs" / name).glob("version_*"))
                newest = max(versions, key=lambda path: int(path.name.removeprefix("version_")))
                if newest.name != "version_0":  # killed before its first checkpoint: begun again
                    newest.parent.rename(newest.parent.with_name(f"{name}_old"))
                    renamed = newest.parent.with_name(f"{name}_old") / newest.name
                    renamed.parent.with_name(name).mkdir()
                    renamed.rename(cwd / "lightning_logs" / name / "version_0")
                found = first_difference(expected, state(cwd, name))
                lost += found is not None
                print(f"{name} finished: {'equal to the bit' if found is None else found}", flush=True)
    finally:
        for process in load:
            process.kill()
    minutes = (time.monotonic() - begin) / 60
    print(
        f"\n{sum(done.values())} disturbances of {runs} runs in {minutes:.0f} minutes, load: {arguments.load} processes"
    )
    for what, count in sorted(done.items()):
        print(f"  {what:<20} {count}")
    print(f"hangs: 0, left behind: 0, runs that differ: {lost}")
    raise SystemExit(1 if lost else 0)


if __name__ == "__main__":
    main()
