"""A short soak: random faults against real runs, compared with undisturbed ones. The long one is run by hand."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.helpers.cli import ROOT, environment
from tests.helpers.strace import needs_strace


@needs_strace
@pytest.mark.slow
def test_nothing_is_lost_and_nothing_different() -> None:
    """Rows 1 and 2."""
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), "--faults", "25", "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["faults"] >= 25
    assert (result["lost"], result["different"]) == (0, 0)
