"""A run is killed, signalled, paused, in processes as users start them; what goes on equals what never stopped."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_rl.state.plain import first_difference
from tests.helpers.cli import (
    checkpoints,
    children,
    final_state,
    is_alive,
    kill_group,
    lineage,
    lit_rl,
    metrics,
    run_directory,
    start,
    wait_for,
    write_config,
)
from tests.runs.conftest import Cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(250)]

LONG = {"total_timesteps": 20_000, "checkpoint": {"every_timesteps": 1024, "keep_last": 3}}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing stopped."""
    cwd = tmp_path_factory.mktemp("straight")
    lit_rl("fit", "--config", write_config(cwd, LONG), cwd=cwd)
    return run_directory(cwd)


def wait_for_checkpoints(cwd: Path, count: int) -> None:
    wait_for(lambda: len(checkpoints(run_directory(cwd))) >= count)


def assert_same(a: Path, b: Path) -> None:
    ours, theirs = final_state(a), final_state(b)
    for name in ours:
        assert first_difference(ours[name], theirs[name], name) is None
    assert metrics(a) == metrics(b)


def logged_steps(run: Path) -> Counter[int]:
    """How often each timestep stands in TensorBoard's files, whatever reader one uses."""
    steps: Counter[int] = Counter()
    for file in run.glob("events.out.tfevents.*"):
        events = EventAccumulator(str(file))
        events.Reload()
        if "rollout/ep_rew_mean" in events.Tags()["scalars"]:
            steps.update(event.step for event in events.Scalars("rollout/ep_rew_mean"))
    return steps


def test_kill_9_twice_then_resume(tmp_path: Path, straight: Path) -> None:
    config = write_config(tmp_path, LONG)
    for count, mode in ((2, "fresh"), (1, "resume")):
        process = start("fit", "--config", config, "--mode", mode, cwd=tmp_path)
        newest = checkpoints(run_directory(tmp_path))[-1:]
        wait_for(lambda newest=newest, count=count: _moved_on(tmp_path, newest, count))
        time.sleep(0.05)  # some way into the next iterations
        process.kill()
        process.wait()
    lit_rl("fit", "--config", config, "--mode", "resume", cwd=tmp_path)
    run = run_directory(tmp_path)
    assert_same(run, straight)
    steps = logged_steps(run)
    assert set(steps.values()) == {1}, "a timestep was logged twice"
    assert steps.keys() == logged_steps(straight).keys()
    assert [segment["cause"] for segment in lineage(run)["segments"]] == ["killed", "killed", "finished"]


def _moved_on(cwd: Path, newest: list[Any], count: int) -> bool:
    now = checkpoints(run_directory(cwd))
    return len(now) >= count and (not newest or now[-1].path != newest[0].path)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"])
def test_a_signal_saves_and_leaves_with_75(tmp_path: Path, straight: Path, name: str) -> None:
    config = write_config(tmp_path, LONG)
    process = start("fit", "--config", config, cwd=tmp_path)
    wait_for_checkpoints(tmp_path, 1)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert f"stopped by {name}" in out
    assert "Traceback" not in err
    run = run_directory(tmp_path)
    segment = lineage(run)["segments"][0]
    assert segment["cause"] == name
    assert checkpoints(run)[-1].manifest.timesteps == segment["to_timesteps"]
    lit_rl("fit", "--config", config, "--mode", "resume", cwd=tmp_path)
    assert_same(run, straight)


def test_a_group_signal_with_workers_leaves_no_orphans(tmp_path: Path, straight: Path) -> None:
    config = write_config(tmp_path, {**LONG, "env": {"backend": "async", "n_workers": 2}})
    process = start("fit", "--config", config, cwd=tmp_path)
    wait_for_checkpoints(tmp_path, 1)
    workers = children(process.pid)
    assert len(workers) >= 2
    kill_group(process, signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    wait_for(lambda: not any(map(is_alive, workers)), 10)
    process = start("fit", "--config", config, "--mode", "resume", cwd=tmp_path)
    wait_for(lambda: len(lineage(run_directory(tmp_path))["segments"]) == 2)
    wait_for(lambda: len(children(process.pid)) >= 2)
    workers = children(process.pid)
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(is_alive, workers)), 10)
    lit_rl("fit", "--config", config, "--mode", "resume", cwd=tmp_path)
    assert_same(run_directory(tmp_path), straight)


def test_a_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    slow = {"total_timesteps": 10**9, "model": {"init_args": {"n_steps": 2_000_000, "batch_size": 4096}}}
    config = write_config(tmp_path, {**slow, "env": {"backend": "async", "n_workers": 2}})
    process = start("fit", "--config", config, cwd=tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("loaded"):
            break
    process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    assert process.poll() is None, "the iteration goes on after the first"
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    wait_for(lambda: not any(map(is_alive, workers)), 10)


def test_a_signal_before_the_first_iteration_leaves_a_run_that_resumes(tmp_path: Path) -> None:
    config = write_config(tmp_path, LONG)
    process = start("fit", "--config", config, cwd=tmp_path)
    wait_for((run_directory(tmp_path) / "lineage.json").exists)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert not list(run_directory(tmp_path).glob("checkpoints/.staging*"))
    lit_rl("fit", "--config", config, "--mode", "resume", "--pause_at", 1, cwd=tmp_path, expect=75)


def test_two_processes_cannot_train_one_run(tmp_path: Path) -> None:
    config = write_config(tmp_path, {**LONG, "total_timesteps": 10**8})
    process = start("fit", "--config", config, cwd=tmp_path)
    try:
        wait_for_checkpoints(tmp_path, 1)
        done = lit_rl("fit", "--config", config, "--mode", "resume", cwd=tmp_path, expect=75)
        assert f"is being trained by process {process.pid}" in done.stderr
    finally:
        process.kill()
        process.communicate()
    lit_rl("fit", "--config", config, "--mode", "resume", "--pause_at", 1, cwd=tmp_path, expect=75)


# -- in this process: what saving must not change ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("--checkpoint.every_timesteps", 1),
        ("--checkpoint.every_timesteps", "null"),
        ("--env.backend", "async", "--env.n_workers", 2),
        ("--env.backend", "async", "--env.n_workers", 4, "--checkpoint.every_timesteps", 1),
    ],
)
def test_saving_and_the_backend_change_nothing_that_is_learned(cli: Cli, words: tuple[Any, ...]) -> None:
    config = cli.config({"total_timesteps": 1024})
    cli("fit", "--config", config, "--name", "a")
    cli("fit", "--config", config, "--name", "b", *words)
    assert_same(cli.run("a"), cli.run("b"))


def test_retention_keeps_the_newest_and_the_best(cli: Cli) -> None:
    config = cli.config({"total_timesteps": 1280, "checkpoint": {"every_timesteps": 128, "keep_last": 2}})
    cli("fit", "--config", config)
    kept = checkpoints(cli.run())
    best = (cli.run() / "checkpoints" / "best").resolve()
    newest = ["t0000001152-s001", "t0000001280-s001"]
    assert [c.path.name for c in kept] == sorted({*newest, best.name})
    scores = [float(row["rollout/ep_rew_mean"]) for row in metrics(cli.run()) if row["rollout/ep_rew_mean"]]
    assert json.loads((best / "manifest.json").read_text())["score"] == pytest.approx(max(scores))


def test_no_save_is_missed_or_doubled_because_of_a_stop(cli: Cli) -> None:
    config = cli.config({"total_timesteps": 1024, "checkpoint": {"every_timesteps": 300, "keep_last": 50}})
    cli("fit", "--config", config, "--name", "a")
    expected = [384, 640, 1024]
    assert [c.manifest.timesteps for c in checkpoints(cli.run("a"))] == expected
    cli("fit", "--config", config, "--name", "b", "--pause_at", 256, expect=75)
    cli("fit", "--config", config, "--name", "b", "--mode", "resume", "--pause_at", 384, expect=75)
    cli("fit", "--config", config, "--name", "b", "--mode", "resume")
    assert [c.manifest.timesteps for c in checkpoints(cli.run("b"))] == [256, *expected]
