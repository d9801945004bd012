"""What the C library does with memory that is freed, in processes of their own."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from tests.helpers.cli import environment

FAULTS = """
import resource, torch
from lit_rl.process import keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.ones(4_000_000) for _ in range(5)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([faults() for _ in range(8)][-5:])
"""


def faults(**variables: str) -> list[int]:
    """Pages that are taken anew for 80 MB each time, five times after the first three."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env={**environment(), **variables}, capture_output=True, text=True, check=True
    )
    return [int(each) for each in done.stdout.strip("[]\n").split(",")]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library")
def test_freed_memory_is_kept_unless_the_environment_says_otherwise() -> None:
    assert max(faults()) < 1000
    assert min(faults(MALLOC_MMAP_THRESHOLD_="1000000")) > 10_000
