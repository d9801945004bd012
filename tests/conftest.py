"""Set before anything is imported that reads it: one torch thread, MuJoCo without a display."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import pytest
import torch

torch.set_num_threads(1)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it, and runs would do so too


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "workers: starts worker processes, a second or two each")
    config.addinivalue_line("markers", "learning: trains for a few seconds")


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A path that a hostile pickle would make; checked at the end not to exist."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists(), "a file ran code"


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Variables that Lightning sets in a test's process (ranks, seeds) are not there for later ones."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
