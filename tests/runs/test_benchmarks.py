"""The scripts in benchmarks/ run: what they measure is looked at by hand, that they still can is looked at here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.cli import ROOT, environment

SHORT = {
    "iteration_cost.py": ("--seconds", "2"),
    "time_shares.py": ("--workloads", "dqn_cartpole", "--rounds", "1", "--seconds", "0.2"),
    "speed.py": (
        "--workloads", "ppo_cartpole_8", "--contenders", "lit_rl", "sb3", "cleanrl_style", "environment", "products",
        "--rounds", "1", "--seconds", "0.2", "--out", "results",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    """A short work where there is one; of the others, that they and all they import can be loaded."""
    command = [sys.executable, str(path), *SHORT.get(path.name, ("--help",))]
    if path.name == "soak_round.py":
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(path.parent)!r}); import soak_round"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
