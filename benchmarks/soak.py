"""Short PPO runs under random faults, resumed until they finish, compared with runs that nothing disturbed.

Every attempt is a real `lit-rl fit` in a process of its own (a fork of this one, which has done the imports). Between
and during attempts come, from a seeded stream: signals and SIGKILL at random moments; SIGKILL, EIO and a full disk at
random system calls of a save (by `strace`, on paths of that save alone); truncated and bit-flipped files of the
newest checkpoint; and what people do to a run, with SIGKILL on top: forks, going back to an older checkpoint, a new
target given at the first, copies to another place with links followed, left out, or through a zip file. A fault is
survived when the resumed run loses no more than it may: nothing that was committed, or, where the newest checkpoint
was damaged, nothing before it. At the end of each round every part of the final state, the metrics and the episodes
must equal the undisturbed run's, to the bit.

    python benchmarks/soak.py --faults 300 --seed 1
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from soak_history import Lost
from soak_round import KINDS, Round, Tally, calls_of_a_save


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--per-round", type=int, default=6, help="faults before a run is left to finish")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=None, help="begin no round after this time")
    parser.add_argument("--keep", default=None, help="keep the runs in this directory")
    arguments = parser.parse_args()
    root = Path(arguments.keep or tempfile.mkdtemp(prefix="lit_rl_soak_")).resolve()
    chance = random.Random(arguments.seed)
    began = time.monotonic()
    calls = calls_of_a_save(root / "traced")
    straight: dict[int, dict[str, str]] = {}
    duration = 0.0
    for seed in (1, 2, 3):
        undisturbed = Round(root / f"straight-{seed}", seed, chance, 0.0, calls)
        start = time.monotonic()
        undisturbed.finish()
        duration = (time.monotonic() - start) / 2  # of one attempt
        straight[seed] = undisturbed.result()
    print(f"undisturbed: {duration:.1f} s; calls of a save on its own paths: {calls}", flush=True)
    tallies = {kind: Tally() for kind in KINDS}
    rounds = lost = different = attempts = 0
    while sum(tally.faults for tally in tallies.values()) < arguments.faults:
        if arguments.minutes is not None and time.monotonic() - began > 60 * arguments.minutes:
            break
        rounds += 1
        seed = 1 + rounds % 3
        this = Round(root / f"round-{rounds:03d}", seed, chance, duration, calls)
        try:
            finished = False
            for _ in range(arguments.per_round):
                kind = this.next_kind()
                finished = this.disturb(kind, tallies[kind])
                attempts += 1
                if finished:
                    break
            attempts += 0 if finished else this.finish()
            result = this.result()
            wrong = [name for name, value in straight[seed].items() if result.get(name) != value]
            if wrong:
                different += 1
                print(f"DIFFERENT in {this.root}: {wrong}\n  " + "\n  ".join(this.log), flush=True)
            elif arguments.keep is None:
                shutil.rmtree(this.root)
        except Lost as error:
            lost += 1
            print(f"LOST in {this.root}: {error}\n  " + "\n  ".join(this.log), flush=True)
        done = sum(tally.faults for tally in tallies.values())
        print(f"round {rounds}: {done} faults, {lost} lost, {different} different", file=sys.stderr, flush=True)
    _print(tallies, rounds, attempts, lost, different, time.monotonic() - began)
    return 0 if lost == different == 0 else 1


def _print(tallies: dict[str, Tally], rounds: int, attempts: int, lost: int, different: int, seconds: float) -> None:
    print("| fault | sent | landed | inside a save | exit codes |\n|---|---|---|---|---|")
    for kind, tally in tallies.items():
        codes = ", ".join(f"{code}: {count}" for code, count in sorted(tally.codes.items()))
        inside = f"{tally.inside_save} ({tally.staging_left} left a staging directory)" if tally.inside_save else ""
        print(f"| {kind} | {tally.faults} | {tally.landed} | {inside} | {codes} |")
    total = [sum(getattr(t, name) for t in tallies.values()) for name in ("faults", "landed", "inside_save")]
    print(f"| all | {total[0]} | {total[1]} | {total[2]} | |")
    print(
        f"\n{rounds} runs, {attempts} process lifetimes, {seconds / 60:.0f} minutes: "
        f"{lost} lost, {different} different."
    )
    print(json.dumps({"rounds": rounds, "faults": total[0], "lost": lost, "different": different}))


if __name__ == "__main__":
    sys.exit(main())
