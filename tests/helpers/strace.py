"""Faults at the system calls of a process: kills, errors and short writes, by `strace`; and work under limits.

The process is a fork of the test's own, so that it costs no imports.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lit_rl.errors import LitRLError

CALLS = (
    "openat", "open", "creat", "read", "pread64", "write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate",
    "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "symlink", "symlinkat",
    "close", "lseek", "getdents64", "newfstatat", "stat", "lstat", "fstat", "readlink", "flock", "truncate",
)  # fmt: skip
"""Everything that a save asks of the file system."""
_CALL = re.compile(r"^\d+ +(\w+)\(")


@dataclass
class Outcome:
    """How a traced process ended.

    Args:
        code: its exit code; minus the signal's number where one killed it.
        error: the line a user sees, or a traceback.
        out: what it printed.
        trace: every call, one a line.
        pid: its number.
    """

    code: int
    error: str
    out: str
    trace: list[str]
    pid: int = 0

    def calls(self) -> Counter[str]:
        """How often each call was made."""
        return Counter(match[1] for line in self.trace if (match := _CALL.match(line)))


def can_trace() -> bool:
    """Whether `strace` is there and may attach to a process of ours."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


needs_strace = pytest.mark.skipif(not can_trace(), reason="needs strace, and leave to trace")


def traced(
    work: Callable[[], None],
    directory: Path,
    *inject: str,
    paths: Sequence[Path] = (),
    calls: Sequence[str] = CALLS,
) -> Outcome:
    """Do `work` in a process of its own under `strace`, with faults such as `fsync:error=EIO:when=2`.

    With `paths`, only calls on them are seen, counted and failed. The trace names the files of descriptors.
    """
    trace = directory / "trace"
    child, go = _fork(work, directory)
    words = [word for fault in inject for word in ("-e", f"inject={fault}")]
    words += [word for path in paths for word in ("-P", str(path))]
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", f"trace=?{',?'.join(calls)}", *words, "-p", str(child)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    assert "attached" in line, line
    outcome = _ended(child, go, directory)
    tracer.communicate()
    outcome.trace = trace.read_text().splitlines()
    outcome.pid = child
    return outcome


def forked(work: Callable[[], None], directory: Path) -> Outcome:
    """Do `work` in a process of its own, without `strace`: for limits that would hit the test too."""
    return _ended(*_fork(work, directory), directory)


def _fork(work: Callable[[], None], directory: Path) -> tuple[int, int]:
    """The new process, which waits for a byte in the pipe that is returned."""
    directory.mkdir(parents=True, exist_ok=True)
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        os._exit(_child(work, ready, directory / "out", directory / "error"))
    os.close(ready)
    return child, go


def _ended(child: int, go: int, directory: Path) -> Outcome:
    os.write(go, b"x")
    os.close(go)
    _, status = os.waitpid(child, 0)
    error, out = (path.read_text() if path.exists() else "" for path in (directory / "error", directory / "out"))
    return Outcome(os.waitstatus_to_exitcode(status), error, out, [])


def _child(work: Callable[[], None], ready: int, out: Path, error: Path) -> int:
    code = 0
    os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.__stdout__.fileno())  # type: ignore[union-attr]
    sys.stdout = sys.__stdout__
    os.read(ready, 1)
    try:
        work()
    except LitRLError as caught:
        code, text = caught.exit_code, str(caught)
        error.write_text(text)
    except SystemExit as caught:
        code = int(caught.code or 0)
    except BaseException:
        code = 1
        error.write_text(traceback.format_exc())
    sys.__stdout__.flush()  # type: ignore[union-attr]
    return code
