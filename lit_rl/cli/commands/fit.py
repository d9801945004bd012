"""`fit`, through LightningCLI."""

from __future__ import annotations

from lit_rl.cli.given import read_arguments
from lit_rl.cli.lightning import run_lightning

SUMMARY = "train: begin a run, go on with one, or begin one from trained weights"
ORDER = 10


def main(argv: list[str]) -> int:
    """Run ``lit-rl fit``."""
    return run_lightning("fit", read_arguments(argv))
