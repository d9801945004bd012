"""The command line in this process: quick, where a process of its own proves nothing more."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lit_rl.cli.dispatch import run_command
from tests.helpers.cli import write_config


@dataclass
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str


@dataclass
class Cli:
    """Runs commands in a directory of the test's own."""

    cwd: Path
    capture: pytest.CaptureFixture[str]

    def __call__(self, *words: Any, expect: int = 0) -> Done:
        self.capture.readouterr()
        code = run_command([str(word) for word in words])
        out, err = self.capture.readouterr()
        assert code == expect, f"exit code {code}\n{out}\n{err}"
        return Done(code, out, err)

    def config(self, over: dict[str, Any] | None = None, name: str = "run.yaml") -> Path:
        return write_config(self.cwd, over, name)

    def run(self, name: str = "run", version: int = 0) -> Path:
        return self.cwd / "lightning_logs" / name / f"version_{version}"

    def error(self, *words: Any, expect: int = 2) -> str:
        """The one line a mistake is answered with; nothing may have been written."""
        before = sorted(self.cwd.rglob("*"))
        done = self(*words, expect=expect)
        assert done.err.startswith("error: "), done.err
        assert sorted(self.cwd.rglob("*")) == before, "something was written"
        return done.err.removeprefix("error: ").rstrip("\n")


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    return Cli(tmp_path, capsys)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Callable[[], str]]]:
    """Standard error and output on a terminal of so many columns and 24 rows; gives what it was sent."""
    opened: list[Any] = []

    def make(columns: int) -> Callable[[], str]:
        ours, theirs = os.openpty()
        set_size(theirs, columns)
        stream = open(theirs, "w", buffering=1)  # noqa: SIM115  closed below
        opened.extend([stream, open(ours, "rb", buffering=0)])  # noqa: SIM115
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "stdout", stream)
        os.set_blocking(ours, False)
        return lambda: b"".join(iter(lambda: _read(ours), b"")).decode()

    yield make
    monkeypatch.undo()
    for each in opened:
        each.close()


def set_size(terminal: int, columns: int, rows: int = 24) -> None:
    """Make a terminal as large as that."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _read(number: int) -> bytes:
    with contextlib.suppress(BlockingIOError):
        return os.read(number, 4096)
    return b""
