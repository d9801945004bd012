"""`validate`, through LightningCLI."""

from __future__ import annotations

from lit_rl.cli.lightning import run_lightning

SUMMARY = "evaluate a checkpoint over some episodes"
ORDER = 20


def main(argv: list[str]) -> int:
    """Run ``lit-rl validate``."""
    return run_lightning("validate", argv)
