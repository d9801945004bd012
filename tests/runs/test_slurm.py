"""When SLURM is asked to start a job again, and when not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_rl.checkpoint.manifest import library_versions
from lit_rl.run import report, slurm
from tests.runs.conftest import Cli


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tool = tmp_path / "scontrol"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setattr(slurm.os, "isatty", lambda number: False)
    return tmp_path / "asked"


@pytest.mark.parametrize(
    ("signal", "job", "again"),
    [
        ("SIGTERM", "train", True), ("SIGUSR1", "train", True), ("SIGTERM", "jupyter", True),
        ("SIGINT", "train", False), ("SIGHUP", "train", False), ("finished", "train", False),
        ("SIGTERM", "bash", False), ("SIGTERM", "interactive", False), ("a callback (should_stop)", "train", False),
    ],
)  # fmt: skip
def test_only_a_schedulers_signal_in_a_batch_job_asks(
    asked: Path, monkeypatch: pytest.MonkeyPatch, signal: str, job: str, again: bool
) -> None:
    monkeypatch.setenv("SLURM_JOB_NAME", job)
    slurm.ask_for_requeue(signal)
    assert asked.exists() is again


@pytest.mark.parametrize("terminal", [True, False])
def test_a_shell_inside_a_job_is_not_started_again(
    asked: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    if terminal:
        monkeypatch.setattr(slurm.os, "isatty", lambda number: True)
    else:
        monkeypatch.setenv("SLURM_PTY_PORT", "4242")
    slurm.ask_for_requeue("SIGTERM")
    assert not asked.exists()


def test_versions_that_differ_are_in_the_banner(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    config = cli.config()
    cli("fit", "--config", config, "--pause_at", 128, expect=75)
    now = library_versions()
    monkeypatch.setattr(report, "library_versions", lambda: {**now, "numpy": "9.9.9"})
    done = cli("fit", "--config", config, "--mode", "resume", "--pause_at", 256, expect=75)
    assert (
        f"versions: numpy {now['numpy']} -> 9.9.9; equal to the bit is only what the same versions compute" in done.out
    )
    monkeypatch.undo()
    monkeypatch.chdir(cli.cwd)
    assert "versions:" not in cli("fit", "--config", config, "--mode", "resume").out
