"""Speed against peers, the same work for all: one table, one picture.

Each contender is a process of its own with one thread for arithmetic, pinned to the same core where the work is for one
core. They are asked in turn, each round beginning with another, so that a machine whose speed wanders is fair. A clock
runs from the end of the first iteration that learned to the end of the last: what is paid once, compilation included,
is not in it; what is paid every iteration (lit_rl's log files, the Trainer's loop) is.

    python benchmarks/speed.py --out speed                    # all works and contenders, about two hours
    python benchmarks/speed.py --workloads ppo_cartpole_8 sac_pendulum --contenders lit_rl sb3 --rounds 3 --seconds 5
    python benchmarks/speed.py --scaling --out speed          # 1 to 1,024 environments
    python benchmarks/speed.py --around --out speed           # saving, resuming, logging, evaluating
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contenders import report
from contenders.process import KINDS, Contender, Failed
from contenders.works import SCALING, WORKS, Work


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    model = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


def measure(name: str, work: Work, kinds: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """All contenders of one work in turn: speeds, units, backends, versions, and what failed."""
    cores = sorted(os.sched_getaffinity(0))
    cores = cores if work.cores is None else cores[-work.cores :]
    failed: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        contenders: dict[str, Contender] = {}
        for kind in [kind for kind in kinds if KINDS[kind].can(work, arguments.accelerator)]:
            contender = Contender(KINDS[kind], name, work, cores, arguments.accelerator, arguments.venvs)
            stack.callback(contender.close)
            try:
                contender.calibrate(arguments.seconds)
                contenders[kind] = contender
            except Failed as error:
                failed[kind] = str(error)
                print(f"{name}: {kind} failed:\n{error}", file=sys.stderr, flush=True)
        speeds: dict[str, list[float]] = {kind: [] for kind in contenders}
        for i in range(arguments.rounds if contenders else 0):
            first = i % len(contenders)
            for kind in [*contenders, *contenders][first : first + len(contenders)]:
                speeds[kind].append(contenders[kind].speed())
            line = ", ".join(f"{kind} {values[-1]:,.0f}" for kind, values in speeds.items())
            print(f"{name}, round {i + 1}: {line}", flush=True)
        how = {
            kind: {"backend": each.backend, "timesteps": each.units * work.unit, "versions": each.versions}
            for kind, each in contenders.items()
        }
    return {"work": asdict(work), "speeds": speeds, "contenders": how, "failed": failed}


def compare(works: Mapping[str, Work], stem: str, arguments: argparse.Namespace) -> str:
    """Measure all works; after each of them everything so far is written."""
    kinds = arguments.contenders or [kind for kind, each in KINDS.items() if each.default]
    if arguments.scaling and not arguments.contenders:
        kinds = ["lit_rl", "lit_rl_native", "sb3"]
    results: dict[str, Any] = {"machine": machine(), "accelerator": arguments.accelerator, "works": {}}
    results |= {"rounds": arguments.rounds, "seconds": arguments.seconds}
    text = ""
    for name, work in works.items():
        results["works"][name] = measure(name, work, kinds, arguments)
        speeds = {each: found["speeds"] for each, found in results["works"].items()}
        head = (
            f"Timesteps a second, medians of {arguments.rounds} rounds; behind them their ratio to stable-baselines3's."
        )
        text = f"{head}\n\n{report.table(works, speeds)}"
        if arguments.out is not None:
            write(arguments.out, stem, text, results)
            (report.curves if arguments.scaling else report.bars)(works, speeds, arguments.out / f"{stem}.png")
    return text


def write(directory: Path, stem: str, text: str, results: Mapping[str, Any]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{stem}.md").write_text(text + "\n")
    (directory / f"{stem}.json").write_text(json.dumps(results, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--scaling", action="store_true", help="over the number of environments")
    what.add_argument("--around", action="store_true", help="saving, resuming, logging and evaluating")
    parser.add_argument("--workloads", nargs="+", choices=[*WORKS, *SCALING], metavar="NAME", help=", ".join(WORKS))
    parser.add_argument("--contenders", nargs="+", choices=KINDS, metavar="NAME", help=", ".join(KINDS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each contender in each round, about")
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--venvs", type=Path, default=Path(__file__).parent / ".venvs", help="where SBX is installed")
    parser.add_argument("--out", type=Path, help="directory for results as JSON, table and picture")
    arguments = parser.parse_args()
    if arguments.around:
        from contenders import around

        found = around.measure(arguments.rounds, arguments.seconds)
        print(found)
        if arguments.out is not None:
            write(arguments.out, "around", found, {"machine": machine(), "text": found.splitlines()})
        return
    works = {
        name: {**WORKS, **SCALING}[name] for name in arguments.workloads or (SCALING if arguments.scaling else WORKS)
    }
    print(compare(works, "scaling" if arguments.scaling else "results", arguments))


if __name__ == "__main__":
    main()
