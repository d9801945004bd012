"""Files of other people."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "tests" / "data" / "sb3_a2c_pendulum"

torch.set_num_threads(1)


@pytest.fixture
def pendulum() -> Path:
    """A published A2C agent with its VecNormalize pickle and Zoo settings beside it."""
    return SHIPPED / "Pendulum-v1.zip"


@pytest.fixture
def published() -> Path:
    """A folder of more published agents, beside the repository; its tests are skipped where it is not."""
    folder = ROOT.parent / "shared" / "sb3_agents"
    if not folder.is_dir():
        pytest.skip("no ../shared/sb3_agents beside the repository")
    return folder
