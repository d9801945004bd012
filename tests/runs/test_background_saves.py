"""Checkpoints that are written beside the iterations that follow: the same bytes, the same ends, nothing lost."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lit_rl.algorithms.ppo import PPO
from lit_rl.callbacks.checkpointing import Checkpointer
from lit_rl.callbacks.rescue import Rescue
from lit_rl.checkpoint import rows
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.envs.failures import EnvironmentLost
from lit_rl.errors import EXIT_IO
from lit_rl.state.plain import first_difference
from lit_rl.training.play import Play
from tests.helpers.cli import (
    checkpoints,
    final_state,
    forked,
    lineage,
    lit_rl,
    metrics,
    parts,
    run_directory,
    write_config,
)
from tests.runs.conftest import Cli
from tests.runs.test_off_policy import CASES, write

PATIENCE_S = 60.0
OFF = ("--checkpoint.background", "false")


class SlowDisk:
    """Nothing that a thread beside training waits for is on the disk before `let_go` says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.let_go = threading.Event()
        self.gave_up = False
        inner = os.fsync

        def fsync(descriptor: int) -> None:
            if threading.current_thread() is not threading.main_thread():
                self.gave_up |= not self.let_go.wait(PATIENCE_S)
            inner(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)


def before_each(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, look: Callable[[Any], None]) -> None:
    """Call `look` with the object before each call of a method."""
    inner = getattr(owner, name)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        look(self)
        return inner(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, call)


def committed(cwd: Path) -> list[int]:
    return [c.manifest.timesteps for c in checkpoints(run_directory(cwd))]


def assert_same(a: Path, b: Path) -> None:
    ours, theirs = final_state(a), final_state(b)
    for name in ours.keys() | theirs.keys():
        assert first_difference(ours.get(name), theirs.get(name), name) is None
    assert metrics(a) == metrics(b)


# -- what is written -----------------------------------------------------------------------------------------------


def late(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    """A disk on which a checkpoint is written when the next iteration has trained, and the next save is there."""
    disk = SlowDisk(monkeypatch)
    before_each(monkeypatch, Checkpointer, "save", lambda checkpointer: disk.let_go.set())
    before_each(monkeypatch, Checkpointer, "_capture", lambda checkpointer: disk.let_go.clear())
    return disk


@pytest.mark.parametrize("case", [None, "SAC, moments, wrapped round", "DQN, prioritized"])
def test_the_bytes_are_those_of_a_save_that_training_waits_for(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, case: str | None
) -> None:
    """Each is written after the iteration that follows has changed weights, environments and replay."""
    config = cli.config() if case is None else write(cli, CASES[case])
    cli("fit", "--config", config, "--name", "waited", *OFF)
    with monkeypatch.context() as patch:
        disk = late(patch)
        cli("fit", "--config", config)
    assert not disk.gave_up
    ours, theirs = checkpoints(cli.run()), checkpoints(cli.run("waited"))
    assert [c.manifest.timesteps for c in ours] == [c.manifest.timesteps for c in theirs]
    assert len(ours) >= 3
    for mine, other in zip(ours, theirs, strict=True):
        for name in mine.manifest.files.keys() | other.manifest.files.keys():
            if name != "lightning.ckpt":  # which holds the time spent, and the names of event files
                assert mine.manifest.files[name] == other.manifest.files[name], name
        a, b = parts(mine), parts(other)
        for name in a.keys() | b.keys():
            assert first_difference(a.get(name), b.get(name), name) is None
    assert metrics(cli.run()) == metrics(cli.run("waited"))


def test_rows_that_are_too_many_to_be_held_are_written_before_training_goes_on(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(cli, CASES["SAC, moments, wrapped round"])
    cli("fit", "--config", config, "--name", "held")
    monkeypatch.setattr(rows, "HELD_BYTES", 0)
    monkeypatch.setattr(threading.Thread, "start", _refuse_writers(threading.Thread.start))
    cli("fit", "--config", config)
    assert_same(cli.run(), cli.run("held"))


def _refuse_writers(inner: Callable[..., None]) -> Callable[..., None]:
    def start(thread: threading.Thread) -> None:
        assert thread.name != "checkpoint"
        inner(thread)

    return start


@pytest.mark.parametrize(("words", "beside"), [((), {"checkpoint"}), (OFF, set())])
def test_what_ends_a_run_is_written_by_itself_and_background_says_whether_the_rest_is(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], beside: set[str]
) -> None:
    threads: list[str] = []
    before_each(monkeypatch, CheckpointStore, "accept", lambda store: threads.append(threading.current_thread().name))
    cli("fit", "--config", cli.config(), *words)
    assert len(threads) == 4
    assert set(threads[:-1]) == (beside or {"MainThread"})
    assert threads[-1] == "MainThread"


# -- a slow disk ---------------------------------------------------------------------------------------------------


def test_iterations_go_on_while_the_disk_is_slow_and_the_end_waits(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were an iteration to wait for the save at 256, nobody would let the disk go: the second save does."""
    disk, saves, collected = SlowDisk(monkeypatch), [], []

    def save(checkpointer: Checkpointer) -> None:
        saves.append(committed(cli.cwd))
        if len(saves) == 2:
            disk.let_go.set()

    before_each(monkeypatch, Checkpointer, "save", save)
    before_each(monkeypatch, PPO, "collect", lambda module: collected.append(module.counters.timesteps))
    cli("fit", "--config", cli.config({"checkpoint": {"every_timesteps": 200}}))
    assert not disk.gave_up
    assert collected == [0, 128, 256, 384]
    assert saves == [[], [], [256, 512]], "at 256, at 512, and once more when training ends"
    assert committed(cli.cwd) == [256, 512]
    assert lineage(cli.run())["segments"][0]["cause"] == "finished"


# -- errors --------------------------------------------------------------------------------------------------------


def test_an_error_of_the_disk_ends_the_run_with_one_line_and_the_run_goes_on_later(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = cli.config()
    cli("fit", "--config", config, "--name", "straight")
    with monkeypatch.context() as patch:
        fail_writers(patch, errno.EIO, at=256)
        done = cli("fit", "--config", config, expect=EXIT_IO)
    assert done.err.startswith("error: cannot write ")
    assert "Input/output error" in done.err
    assert done.err.count("\n") == 1
    assert committed(cli.cwd) == [128]
    assert not list(cli.run().glob("checkpoints/.*"))
    assert lineage(cli.run())["segments"][0]["cause"].startswith("error: StorageError: cannot write ")
    cli("fit", "--config", config, "--mode", "resume")
    assert_same(cli.run(), cli.run("straight"))


def fail_writers(monkeypatch: pytest.MonkeyPatch, number: int, at: int, times: int = 1 << 30) -> None:
    """Let the disk refuse the checkpoint of one timestep to threads beside training, so many times."""
    inner, refused = os.fsync, []

    def fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        beside = threading.current_thread() is not threading.main_thread()
        if beside and f"t{at:010d}" in path and len(refused) < times:
            refused.append(path)
            raise OSError(number, os.strerror(number))
        inner(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_full_disk_is_pruned_and_tried_once_more_beside_training(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_writers(monkeypatch, errno.ENOSPC, at=384, times=1)
    done = cli("fit", "--config", cli.config({"checkpoint": {"keep_last": 2}}))
    assert "Deleted t0000000128-s001 and trying once more" in done.out
    assert committed(cli.cwd) == [384, 512]


def test_an_environment_that_is_lost_waits_for_the_write(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state before the iteration is the one that is being written: it is saved once."""
    config = cli.config({"checkpoint": {"every_timesteps": 256}})
    cli("fit", "--config", config, "--name", "straight")
    found: list[list[int]] = []
    with monkeypatch.context() as patch:
        disk = SlowDisk(patch)

        def lose(play: Play) -> None:
            if play.timesteps >= 300:
                raise EnvironmentLost("environment 0 is gone.")

        def let_go(rescue: Rescue) -> None:
            found.append(committed(cli.cwd))
            disk.let_go.set()

        before_each(patch, Play, "step", lose)
        before_each(patch, Rescue, "on_exception", let_go)
        done = cli("fit", "--config", config, expect=75)
    assert "The state before this iteration, at timestep 256, is saved: mode: resume." in done.err
    assert found == [[]]
    assert committed(cli.cwd) == [256]
    cli("fit", "--config", config, "--mode", "resume")
    assert_same(cli.run(), cli.run("straight"))


def test_an_error_of_the_write_is_told_with_the_one_that_ended_training(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(module: PPO) -> None:
        if module.counters.timesteps == 256:
            raise EnvironmentLost("environment 0 is gone.")

    fail_writers(monkeypatch, errno.EIO, at=256)
    before_each(monkeypatch, PPO, "collect", lose)
    done = cli("fit", "--config", cli.config(), expect=1)
    assert "error: environment 0 is gone.\nThe state before this iteration could not be saved: cannot write" in done.err
    assert committed(cli.cwd) == [128]


# -- kills ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("lit_rl.checkpoint.writer:write_durably@4", [128]),
        ("lit_rl.checkpoint.writer:commit@2", [128]),
        ("!lit_rl.checkpoint.writer:commit@2", [128, 256]),
    ],
)
def test_a_kill_in_the_middle_of_a_write_beside_training(tmp_path: Path, cli: Cli, point: str, left: list[int]) -> None:
    config = write_config(tmp_path)
    cli("fit", "--config", config, "--name", "straight")
    process = forked("tests.helpers.signalled", point, "SIGKILL", "fit", "--config", config, cwd=tmp_path)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -9
    assert committed(tmp_path) == left
    lit_rl("fit", "--config", config, "--mode", "resume", cwd=tmp_path)
    assert not list(run_directory(tmp_path).glob("checkpoints/.*"))
    assert_same(run_directory(tmp_path), cli.run("straight"))
