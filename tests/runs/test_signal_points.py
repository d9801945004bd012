"""A signal at chosen points of a run: it ends as between two iterations, and goes on as if it had not come."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lit_rl.state.plain import first_difference
from tests.helpers.cli import (
    checkpoints,
    final_state,
    forked,
    lineage,
    lit_rl,
    metrics,
    run_directory,
    write_config,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(250)]

CONFIG: dict[str, Any] = {
    "eval": {"every": 128, "episodes": 2},
    "env": {"normalize": {"obs": True, "reward": True}},
}
EVALUATION = "lit_rl.training.loop:evaluate_beside@2"
WRITE = "lit_rl.callbacks.checkpointing:PlainCheckpointIO.save_checkpoint@2"
COMMIT = "lit_rl.callbacks.checkpointing:commit@2"
SETTLE = "lit_rl.checkpoint.store:CheckpointStore.settle@2"
OPTIMIZER = "torch.optim.adam:Adam.step@6"
LOGGING = "lit_rl.run.logs:MetricsCsv.log_metrics@2"


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing stopped."""
    cwd = tmp_path_factory.mktemp("straight")
    lit_rl("fit", "--config", write_config(cwd, CONFIG), cwd=cwd)
    return run_directory(cwd)


def signalled(point: str, name: str, *words: Any, cwd: Path) -> subprocess.CompletedProcess[str]:
    process = forked("tests.helpers.signalled", point, name, *words, cwd=cwd)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess([point, name], process.wait(), out, err)


def assert_whole(run: Path) -> None:
    """No half directory, and everything that looks like a checkpoint is one."""
    assert not list(run.glob("checkpoints/.staging*"))
    assert len(list(run.glob("checkpoints/t*"))) == len(checkpoints(run))


def assert_same(a: Path, b: Path) -> None:
    ours, theirs = final_state(a), final_state(b)
    for name in ours:
        assert first_difference(ours[name], theirs[name], name) is None
    assert metrics(a) == metrics(b)


@pytest.mark.parametrize(
    ("point", "name"),
    [
        (EVALUATION, "SIGTERM"),
        ("!" + EVALUATION, "SIGUSR1"),
        (WRITE, "SIGINT"),
        (COMMIT, "SIGHUP"),
        (SETTLE, "SIGINT"),
        (OPTIMIZER, "SIGINT"),
        ("lit_rl.envs.slot:Slot.step@700", "SIGINT"),
        (LOGGING, "SIGINT"),
    ],
)
def test_while_it_trains(point: str, name: str, tmp_path: Path, straight: Path) -> None:
    config = write_config(tmp_path, CONFIG)
    done = signalled(point, name, "fit", "--config", config, cwd=tmp_path)
    assert done.returncode == 75, done.stdout + done.stderr
    assert f"stopped by {name}" in done.stdout
    assert "Traceback" not in done.stderr
    run = run_directory(tmp_path)
    assert_whole(run)
    (segment,) = lineage(run)["segments"]
    assert segment["cause"] == name
    assert checkpoints(run)[-1].manifest.timesteps == segment["to_timesteps"] < 512
    lit_rl("fit", "--config", config, "--mode", "resume", cwd=tmp_path)
    assert_same(run, straight)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that can be resumed at timestep 256."""
    cwd = tmp_path_factory.mktemp("stopped")
    lit_rl("fit", "--config", write_config(cwd, CONFIG), "--pause_at", 256, cwd=cwd, expect=75)
    return cwd


LOADING = {
    "the checkpoint is looked for": ("lit_rl.run.begin:make_plan", None),
    "the history is written": ("lit_rl.run.lineage:Lineage.write", 75),
    "the weights are read": ("lit_rl.callbacks.checkpointing:PlainCheckpointIO.load_checkpoint", 75),
    "the parts are read": ("lit_rl.algorithms.ppo:PPO.on_load_checkpoint", 75),
    "an environment comes back": ("lit_rl.envs.slot:Slot.restore_plain", 75),
    "all have come back": ("!lit_rl.algorithms.ppo:PPO.on_train_start", 75),
}


@pytest.mark.parametrize(
    ("when", "name"),
    [
        *((when, "SIGTERM") for when in LOADING),
        ("the checkpoint is looked for", "SIGINT"),
    ],
)
def test_while_it_loads(when: str, name: str, tmp_path: Path, stopped: Path, straight: Path) -> None:
    cwd = tmp_path / "run"
    shutil.copytree(stopped, cwd, symlinks=True)
    before = sorted(path.relative_to(cwd) for path in cwd.rglob("*"))
    point, code = LOADING[when]
    done = signalled(point, name, "fit", "--config", "run.yaml", "--mode", "resume", cwd=cwd)
    run = run_directory(cwd)
    if code is None:  # before anything is written
        assert done.returncode == (130 if name == "SIGINT" else -15), done.stderr
        assert sorted(path.relative_to(cwd) for path in cwd.rglob("*")) == before
    else:
        assert done.returncode == code, done.stdout + done.stderr
        assert f"stopped by {name}" in done.stdout
    assert "Traceback" not in done.stderr
    assert_whole(run)
    saved = [checkpoint.manifest.timesteps for checkpoint in checkpoints(run)]
    assert saved in ([128, 256], [128, 256, 384])  # at once, or after the iteration that had begun
    lit_rl("fit", "--config", "run.yaml", "--mode", "resume", cwd=cwd)
    assert_same(run, straight)
