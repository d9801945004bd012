"""`diff`: where two runs differ."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lit_rl.compare.diff import Difference, Histories, Pair, compare
from lit_rl.compare.find import run_directory
from lit_rl.compare.table import shown
from lit_rl.errors import EXIT_OK
from lit_rl.run.wanted import DEFAULT_ROOT

SUMMARY = "say where two runs differ"
ORDER = 47
EXIT_DIFFERENT = 1
_MOST = 12
_LONGEST = 48


def main(argv: list[str]) -> int:
    """Run ``lit-rl diff``."""
    parser = argparse.ArgumentParser(
        prog="lit-rl diff",
        description="Say which settings and versions of two runs differ, and the first timestep at which their logs "
        "part, whatever their clocks say. As with diff, the exit code is 0 where nothing differs, 1 where something "
        "does, and 2 for a mistake; how a run began (mode, name, place) is shown and does not count.",
    )
    parser.add_argument("run", nargs=2, help="a run directory, or a name for its newest run, or name/N")
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="where names are looked for")
    parser.add_argument("--json", action="store_true", help="print JSON, with every difference")
    arguments = parser.parse_args(argv)
    a, b = (run_directory(each, arguments.root, "diff") for each in arguments.run)
    found = compare(a, b)
    print(json.dumps(found.plain(), indent=2) if arguments.json else "\n".join(_lines(found)))
    return EXIT_OK if found.equal else EXIT_DIFFERENT


def _lines(found: Difference) -> list[str]:
    lines = [f"{side} {shown(run.path)} ({run.state})" for side, run in zip("ab", found.runs, strict=True)]
    for what, pairs in (
        ("settings", found.settings),
        ("versions", found.versions),
        ("how they began, which does not count", found.beginning),
    ):
        lines += _section(what, pairs)
    lines += ["", *_history(found.histories)]
    return lines + [f"WARNING: {shown(problem)}" for problem in found.problems]


def _section(what: str, pairs: dict[str, Pair]) -> list[str]:
    if not pairs:
        return ["", f"{what}: equal"]
    few = dict(list(pairs.items())[:_MOST])
    width = min(max(len(key) for key in few), _LONGEST)
    lines = ["", f"{what}:", *(f"  {shown(key):<{width}}  {_value(a)} | {_value(b)}" for key, (a, b) in few.items())]
    return lines + ([f"  and {len(pairs) - _MOST} more; --json has them"] if len(pairs) > _MOST else [])


def _value(text: str | None) -> str:
    text = "(not there)" if text is None else shown(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _history(found: Histories) -> list[str]:
    lines = []
    if not found.compared:
        lines.append("histories: no timestep stands in both logs")
    elif found.parted_at is not None:
        before = "nothing before it is equal" if found.last_equal is None else f"equal up to {found.last_equal:,}"
        lines.append(f"histories: part at timestep {found.parted_at:,} ({before})")
        lines += _section("metrics there", found.metrics)[1:]
    else:
        lines.append(f"histories: equal at {found.compared:,} timesteps, up to {found.last_equal:,}")
    if found.ends[0] != found.ends[1]:
        ends = ["nothing" if end is None else f"timestep {end:,}" for end in found.ends]
        lines.append(f"  a has logged up to {ends[0]}, b up to {ends[1]}")
    for side, names in zip("ab", found.only_in, strict=True):
        if names and found.compared:
            more = f" and {len(names) - 6} more" if len(names) > 6 else ""
            lines.append(f"  only in {side}, not compared: {', '.join(map(shown, names[:6]))}{more}")
    return lines
