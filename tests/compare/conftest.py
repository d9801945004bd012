"""A few small runs, made once: straight through, paused and resumed, forked, warm-started, and one with levels."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lit_rl.cli.dispatch import run_command
from tests.helpers.cli import write_config
from tests.runs.conftest import cli  # noqa: F401

LEVELS = {
    "name": "levels",
    "env": {"id": None, "class_path": "lit_rl.envs.examples.gates.Gates", "n_envs": 4},
    "curriculum": {
        "levels": [
            {"name": "near", "env_kwargs": {"level": 0}, "promote": {"metric": "timesteps", "threshold": 256}},
            {"name": "far <b>", "env_kwargs": {"level": 1}},
        ]
    },
}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `lightning_logs` in it."""
    place = tmp_path_factory.mktemp("compare")
    config = str(write_config(place, {"eval": {"every": 128, "episodes": 2}}))
    levels = str(write_config(place, LEVELS, "levels.yaml"))
    fork = ["--config", config, "--name", "forked", "--resume.fork", "true"]
    warm = ["--config", config, "--name", "warm", "--mode", "warmstart"]
    with contextlib.chdir(place):
        for words, code in (
            (["--config", config], 0),
            (["--config", config, "--model.learning_rate", "0.001"], 0),
            (["--config", config, "--name", "paused", "--pause_at", "256"], 75),
            (["--config", config, "--name", "resumed", "--pause_at", "256"], 75),
            (["--config", config, "--name", "resumed", "--mode", "resume"], 0),
            ([*fork, "--ckpt_path", "lightning_logs/paused/version_0"], 0),
            ([*warm, "--warmstart.checkpoint", "lightning_logs/run/version_0"], 0),
            (["--config", levels], 0),
        ):  # fmt: skip
            assert run_command(["fit", *words]) == code
    return place


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A copy of their `lightning_logs` in the test's own directory."""
    shutil.copytree(made / "lightning_logs", tmp_path / "lightning_logs", symlinks=True)
    return tmp_path / "lightning_logs"


@pytest.fixture
def digest() -> Callable[[Path], dict[str, str]]:
    """Every file below a directory with what it holds."""

    def of(directory: Path) -> dict[str, str]:
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        return {
            str(path): f"{path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files
        }

    return of
