"""`fit`, through LightningCLI."""

from __future__ import annotations

from lit_rl.cli.given import read_arguments
from lit_rl.cli.lightning import run_lightning
from lit_rl.cli.seeds import asks_for_seeds, run_seeds, without_seeds

SUMMARY = "train: begin a run, go on with one, or begin one from trained weights"
ORDER = 10


def main(argv: list[str]) -> int:
    """Run ``lit-rl fit``."""
    given = read_arguments(argv)
    if asks_for_seeds(given):
        return run_seeds(argv)
    return run_lightning("fit", without_seeds(given))
