"""`requeue: true`: one command, started until it says that it is done."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from lit_rl.errors import Held
from lit_rl.run import hold
from lit_rl.run.directory import RunLock
from lit_rl.run.sources import Source, find
from tests.helpers.cli import (
    checkpoints,
    environment,
    lineage,
    run_directory,
    same_runs,
    start,
    wait_for,
    write_config,
)
from tests.runs.conftest import Cli


def test_the_same_command_goes_on_until_it_is_done(cli: Cli) -> None:
    config = cli.config()
    cli("fit", "--config", config, "--name", "straight")
    command = ("fit", "--config", config, "--requeue", "true")
    cli(*command, "--pause_at", 128, expect=75)
    done = cli(*command, "--pause_at", 384, expect=75)
    assert "mode: resume" in done.out
    assert "requeue: goes on with lightning_logs/run/version_0" in done.out
    cli(*command)
    assert "finished: timestep 512 of 512; nothing to do" in cli(*command).out
    assert [s["mode"] for s in lineage(cli.run())["segments"]] == ["fresh", "resume", "resume"]
    assert not run_directory(cli.cwd, version=1).exists()
    same_runs(cli.run(), cli.run("straight"))


def test_without_it_every_start_is_a_new_run(cli: Cli) -> None:
    config = cli.config()
    for _ in range(2):
        cli("fit", "--config", config, "--pause_at", 128, expect=75)
    assert run_directory(cli.cwd, version=1).exists()


def test_a_new_target_in_the_file_is_followed(cli: Cli) -> None:
    cli("fit", "--config", cli.config({"requeue": True}))
    done = cli("fit", "--config", cli.config({"requeue": True, "total_timesteps": 768}))
    assert "timestep: 512 of 768" in done.out


def test_a_warmstart_reads_its_weights_once(cli: Cli) -> None:
    cli("fit", "--config", cli.config(), "--name", "parent")
    over: dict[str, Any] = {
        "requeue": True, "mode": "warmstart", "warmstart": {"checkpoint": str(cli.run("parent"))}, "seed_everything": 2,
    }  # fmt: skip
    config = cli.config(over)
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--pause_at", 256, expect=75)
    shutil.rmtree(cli.run("parent"))
    cli("fit", "--config", config)
    same_runs(cli.run(), cli.run("straight"))
    assert len(lineage(cli.run())["parents"]) == 1


def test_additional_timesteps_are_added_once(cli: Cli) -> None:
    cli("fit", "--config", cli.config())
    command = ("fit", "--config", cli.config(), "--mode", "resume", "--resume.additional_timesteps", 512)
    cli(*command, "--requeue", "true", "--pause_at", 640, expect=75)
    done = cli(*command, "--requeue", "true")
    assert "timestep: 640 of 1,024" in done.out
    assert "finished: timestep 1,024 of 1,024; nothing to do" in cli(*command, "--requeue", "true").out
    # Another order is another extension.
    command = (*command[:-1], 256)
    assert "timestep: 1,024 of 1,280" in cli(*command, "--requeue", "true").out


def test_an_extension_that_was_killed_before_its_first_save_is_not_forgotten(cli: Cli) -> None:
    cli("fit", "--config", cli.config())
    over = {"checkpoint": {"every_timesteps": None}}
    command = ("fit", "--config", cli.config(over), "--mode", "resume", "--resume.additional_timesteps", 512)
    cli(*command, "--requeue", "true", "--pause_at", 640, expect=75)
    for checkpoint in checkpoints(cli.run()):
        if checkpoint.manifest.timesteps > 512:
            shutil.rmtree(checkpoint.path)
    assert "timestep: 512 of 1,024" in cli(*command, "--requeue", "true").out


def test_a_run_without_a_checkpoint_is_begun_again(cli: Cli) -> None:
    config = cli.config({"requeue": True})
    cli("fit", "--config", config, "--pause_at", 128, expect=75)
    shutil.rmtree(cli.run() / "checkpoints")
    done = cli("fit", "--config", config)
    assert "ended before its first checkpoint; begun again" in done.out
    assert checkpoints(run_directory(cli.cwd, version=1))


def test_one_run_has_one_process(cli: Cli) -> None:
    config = cli.config({"requeue": True})
    cli("fit", "--config", config, "--pause_at", 128, expect=75)
    lock = RunLock(cli.run())
    assert "is being trained by process" in cli.error("fit", "--config", config, expect=75)
    lock.release()
    lock = RunLock(cli.run().parent)
    assert "is being trained by process" in cli.error("fit", "--config", config, expect=75)
    lock.release()
    cli("fit", "--config", config)


def test_a_run_is_held_before_it_is_looked_at(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read there is what the run goes on from: nobody saves or cuts in between."""
    config, held = cli.config(), []

    def look(*words: Any) -> Source:
        with pytest.raises(Held):
            RunLock(cli.run())
        held.append(words[0])
        return find(*words)

    monkeypatch.setattr(hold, "find", look)
    cli("fit", "--config", config, "--pause_at", 128, expect=75)
    cli("fit", "--config", config, "--mode", "resume", "--pause_at", 256, expect=75)
    cli("fit", "--config", config, "--ckpt_path", cli.run() / "checkpoints" / "last", "--pause_at", 384, expect=75)
    cli.error("fit", "--config", config, "--mode", "resume", "--model.gamma", 0.5)
    RunLock(cli.run()).release()  # a mistake lets it go
    cli("fit", "--config", config, "--mode", "resume")
    cli("fit", "--config", config, "--mode", "resume")  # nothing to do
    assert len(held) == 5


def test_a_run_that_begins_meanwhile_is_gone_on_with(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    config = cli.config()
    cli("fit", "--config", config, "--pause_at", 128, expect=75)
    calls = []

    def look(*words: Any) -> Source:
        if not calls:
            shutil.copytree(cli.run(), cli.run(version=1), symlinks=True)
        calls.append(words)
        return find(*words)

    monkeypatch.setattr(hold, "find", look)
    done = cli("fit", "--config", config, "--mode", "resume")
    assert "run: lightning_logs/run/version_1" in done.out
    assert len(calls) == 2


@pytest.mark.slow
@pytest.mark.parametrize("works", [True, False])
def test_slurm_is_asked_once_the_state_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    last = run_directory(tmp_path) / "checkpoints" / "last" / "manifest.json"
    tail = "" if works else "echo no such job >&2; exit 1"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked; cat {last} > {tmp_path}/manifest\n{tail}\n')
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{scontrol.parent}{os.pathsep}{environment()['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    config = write_config(tmp_path, {"total_timesteps": 10**8, "requeue": True})
    process = start("fit", "--config", config, cwd=tmp_path)
    wait_for(lambda: checkpoints(run_directory(tmp_path)))
    process.send_signal(signal.SIGUSR1)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert (tmp_path / "asked").read_text() == "requeue 4711\n"
    newest = checkpoints(run_directory(tmp_path))[-1]
    assert (tmp_path / "manifest").read_bytes() == (newest.path / "manifest.json").read_bytes()
    if works:
        assert "requeue: asked SLURM to start job 4711 again" in out
    else:
        assert "`scontrol requeue 4711` failed: no such job" in err
