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
COMMIT = "lit_rl.checkpoint.writer:commit"
SETTLE = "lit_rl.checkpoint.store:CheckpointStore.settle"
"""Both of the first save, which is written beside the second iteration: the third is the last that may begin."""
OPTIMIZER = "lit_rl.networks.flat:FlatAdam.step@6"
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
        assert done.returncode == 75, done.stderr
        assert done.stderr == f"stopped by {name} before the run had begun.\n"
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


END = {
    "training ends": "lit_rl.callbacks.progress:Progress.on_train_end",
    "the environments are closed": "lit_rl.training.play:Play.close",
    "the history is written": "lit_rl.run.lineage:Lineage.write@2",
    "the lock is let go": "!lit_rl.run.directory:RunLock.release",
    "the ranks part": "lit_rl.ranks.group:Ranks.close",
    "it is told how it ended": "lit_rl.run.begin:summary",
    "the process ends": "lit_rl.__main__:ignore_stop_signals",
    "the interpreter ends": "!lit_rl.__main__:ignore_stop_signals",
}


@pytest.mark.parametrize("when", END)
@pytest.mark.parametrize(("name", "code"), [("SIGTERM*3", 75), ("SIGINT*3", 75), ("SIGHUP", 0)])
def test_while_it_ends(when: str, name: str, code: int, tmp_path: Path) -> None:
    """What has been saved is there, and no further signal says otherwise."""
    if (name, when) == ("SIGINT*3", "training ends"):
        pytest.skip("a second Ctrl-C before the end leaves at once")
    config = write_config(tmp_path, {"total_timesteps": 256})
    words = ("--pause_at", 128) if code else ()
    done = signalled(END[when], name, "fit", "--config", config, *words, cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert checkpoints(run_directory(tmp_path))[-1].manifest.timesteps == (128 if code else 256)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_signals_all_the_way_to_the_end(tmp_path: Path, name: str) -> None:
    """From the first write on, and again and again until the process is gone."""
    points = ("lit_rl.run.begin:new_directory", LOGGING, WRITE, *END.values())
    config = write_config(tmp_path, CONFIG)
    done = signalled(",".join(points), f"{name}*3", "fit", "--config", config, cwd=tmp_path)
    assert done.returncode == 75, done.stdout + done.stderr
    assert lineage(run_directory(tmp_path))["segments"][0]["cause"] == name
    assert "Traceback" not in done.stderr
