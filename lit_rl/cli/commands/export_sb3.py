"""`export-sb3`: the same as `export --format sb3`."""

from __future__ import annotations

from lit_rl.cli.commands.export import run_export

SUMMARY = "the same as export --format sb3"
ORDER = 90


def main(argv: list[str]) -> int:
    """Run ``lit-rl export-sb3``."""
    return run_export("export-sb3", argv, "sb3")
