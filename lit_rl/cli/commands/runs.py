"""`runs`: a table of runs."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from lit_rl.compare.find import runs_named
from lit_rl.compare.runs import read_run, runs_below
from lit_rl.compare.table import runs_table, shown
from lit_rl.errors import EXIT_OK, ConfigError
from lit_rl.run.wanted import DEFAULT_ROOT

SUMMARY = "list runs: how far each is, and how good"
ORDER = 46


def main(argv: list[str]) -> int:
    """Run ``lit-rl runs``."""
    parser = argparse.ArgumentParser(
        prog="lit-rl runs",
        description="List runs, the newest of each name first: state, environment, algorithm, seed, timesteps of the "
        "target, level of a curriculum, and the last and best mean return (of evaluations where the run has any, else "
        "of training). A wider terminal shows more columns; --json has everything. Runs that go on are not disturbed.",
    )
    parser.add_argument("name", nargs="?", help="only runs of this name, or a directory of them or of one")
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="where runs lie; lightning_logs by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    root: Path = arguments.root
    if not root.is_dir() and not (arguments.name and Path(arguments.name).exists()):
        raise ConfigError(f"--root: {root} is no directory; name the one that runs lie in.")
    found = list(runs_below(root)) if arguments.name is None else runs_named(arguments.name, root, "runs")
    records = [read_run(directory) for directory in found]
    if arguments.json:
        print(json.dumps([record.plain() for record in records], indent=2))
    elif not records:
        print(f"no run lies below {root} yet.")
    else:
        print("\n".join(runs_table(records, shutil.get_terminal_size().columns)))
        for record in (record for record in records if record.state == "damaged" and record.problems):
            print(f"{shown(record.title)}: {shown(record.problems[-1])}")
    return EXIT_OK
