"""`test`, through LightningCLI."""

from __future__ import annotations

from lit_rl.cli.lightning import run_lightning

SUMMARY = "evaluate a checkpoint over some episodes"
ORDER = 30


def main(argv: list[str]) -> int:
    """Run ``lit-rl test``."""
    return run_lightning("test", argv)
