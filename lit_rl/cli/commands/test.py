"""`test`, through LightningCLI."""

from __future__ import annotations

from lit_rl.cli.evaluation import evaluation_arguments
from lit_rl.cli.lightning import run_lightning

SUMMARY = "evaluate a run or a checkpoint over some episodes"
ORDER = 30


def main(argv: list[str]) -> int:
    """Run ``lit-rl test``."""
    return run_lightning("test", evaluation_arguments("test", argv))
