"""`report`: runs as a page to look at."""

from __future__ import annotations

import argparse
from pathlib import Path

from lit_rl.checkpoint.files import put
from lit_rl.cli.output import check_free
from lit_rl.compare.find import run_directory
from lit_rl.compare.history import read_history
from lit_rl.compare.report import BY, report
from lit_rl.compare.table import shown
from lit_rl.errors import EXIT_OK
from lit_rl.run.wanted import DEFAULT_ROOT

SUMMARY = "write an HTML page about one run, or several beside each other"
ORDER = 48


def main(argv: list[str]) -> int:
    """Run ``lit-rl report``."""
    parser = argparse.ArgumentParser(
        prog="lit-rl report",
        description="Write one HTML file that needs no network: learning curve with stops, resumes, levels and forks, "
        "lineage, speed, evaluations, settings, and a video that lies in the run directory; of several runs also their "
        "interquartile mean with bootstrap intervals over seeds. Nothing of the runs is changed.",
    )
    parser.add_argument("run", nargs="+", help="a run directory, or a name for its newest run, or name/N")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="where names are looked for")
    parser.add_argument(
        "--by", choices=BY, default="name", help="what the seeds of a group share besides their environment; name"
    )
    arguments = parser.parse_args(argv)
    check_free([arguments.out], arguments.overwrite)
    runs = [run_directory(each, arguments.root, "report") for each in arguments.run]
    distinct = list({run.resolve(): run for run in runs}.values())
    histories = [read_history(run) for run in distinct]
    put(arguments.out, report(histories, arguments.by).encode(errors="backslashreplace"), durably=True)
    print(f"wrote {arguments.out}: {len(distinct)} run{'s' * (len(distinct) > 1)}")
    for problem in dict.fromkeys(problem for history in histories for problem in history.record.problems):
        print(f"WARNING: {shown(problem)}")
    return EXIT_OK
