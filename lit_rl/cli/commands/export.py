"""`export`: a policy as a file for others: stable-baselines3, ONNX, TorchScript."""

from __future__ import annotations

import argparse
from pathlib import Path

from lit_rl.cli.agents import add_agent_arguments, agent_of
from lit_rl.cli.output import check_free
from lit_rl.cli.quiet import quiet
from lit_rl.compare.find import path_or_run
from lit_rl.errors import EXIT_OK
from lit_rl.run.wanted import DEFAULT_ROOT

SUMMARY = "write a policy for stable-baselines3, ONNX or TorchScript"
ORDER = 85
FORMATS = ("sb3", "onnx", "torchscript")


def main(argv: list[str]) -> int:
    """Run ``lit-rl export``."""
    return run_export("export", argv, None)


def run_export(command: str, argv: list[str], file_format: str | None) -> int:
    """Run ``lit-rl export``, or the name that it has for one format."""
    quiet()
    parser = argparse.ArgumentParser(
        prog=f"lit-rl {command}",
        description="Write one file that takes raw observations and gives the environment's actions, checked against "
        "our own (onnx, torchscript); or a .zip that stable-baselines3's algorithm of the same name loads, and its "
        "moments beside it (NAME_vecnormalize.pkl) where the run has any (sb3; of a run its last checkpoint, unless "
        "--which says best).",
    )
    add_agent_arguments(parser)
    parser.add_argument("--out", required=True, help="the file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    if file_format is None:
        parser.add_argument("--format", required=True, choices=FORMATS, help="what to write")
    arguments = parser.parse_args(argv)
    wanted: str = file_format or arguments.format
    out = Path(arguments.out)
    if wanted == "sb3":
        from lit_rl.cli.sb3_files import write_sb3

        return write_sb3(
            command,
            path_or_run(arguments.checkpoint, DEFAULT_ROOT),
            arguments.which,
            arguments.config,
            out,
            arguments.overwrite,
        )
    check_free([out], arguments.overwrite)
    from lit_rl.inference.export import export

    agent = agent_of(arguments)
    said = export(agent, "onnx" if wanted == "onnx" else "torchscript", out)
    print(f"{agent}\nwrote {out}: {said}")
    return EXIT_OK
