"""`validate`, through LightningCLI."""

from __future__ import annotations

from lit_rl.cli.evaluation import evaluation_arguments
from lit_rl.cli.lightning import run_lightning

SUMMARY = "the same as test"
ORDER = 20


def main(argv: list[str]) -> int:
    """Run ``lit-rl validate``."""
    return run_lightning("validate", evaluation_arguments("validate", argv))
