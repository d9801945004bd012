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
def _same_environment() -> Iterator[None]:
    """No test leaves a variable behind: runs of later tests would read it."""
    before = dict(os.environ)
    yield
    after = dict(os.environ)
    os.environ.clear()
    os.environ.update(before)
    for found in (before, after):
        found.pop("PYTEST_CURRENT_TEST", None)
    assert after == before
