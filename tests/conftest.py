"""Set before anything is imported that reads it: one torch thread, MuJoCo without a display."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")

import pytest
import torch

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "workers: starts worker processes, a second or two each")
    config.addinivalue_line("markers", "learning: trains for a few seconds")
