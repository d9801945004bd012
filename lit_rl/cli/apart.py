"""Work in a process of its own that may hang or die: it is waited for, and what it has found comes back as JSON."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

from lit_rl.errors import ConfigError, LitRLError, raised

Work = Callable[[Callable[[str], None]], dict[str, Any]]


def run_watched(work: Work, name: str, limit_s: float) -> dict[str, Any]:
    """Run `work(stage)` in a fork of this process.

    Args:
        work: gives plain values; it calls `stage` with what it does next, in words.
        name: what it is about, for messages.
        limit_s: seconds that a stage may take.

    Raises:
        ConfigError: it raised, hung or died; says at which stage.
    """
    receiving, sending = os.pipe()
    with tempfile.TemporaryFile() as said:
        pid = os.fork()
        if pid == 0:
            os.close(receiving)
            _child(work, sending, said.fileno())
        os.close(sending)
        try:
            return _wait(pid, receiving, name, limit_s)
        finally:
            os.close(receiving)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # with the workers it may have started
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _child(work: Work, sending: int, said: int) -> None:
    """Never returns. What an environment prints is none of ours."""

    def send(message: dict[str, Any]) -> None:
        os.write(sending, (json.dumps(message) + "\n").encode())

    try:
        os.setsid()
        os.dup2(said, 1)
        os.dup2(said, 2)
        send({"found": work(lambda stage: send({"stage": stage}))})
    except LitRLError as error:
        send({"error": str(error)})
    except BaseException as error:
        send({"error": f"raised {raised(error)}.", "trace": traceback.format_exc()})
    finally:
        os._exit(0)


def _wait(pid: int, receiving: int, name: str, limit_s: float) -> dict[str, Any]:
    stage, rest, end = "it is looked at", b"", time.monotonic() + limit_s
    while True:
        ready, _, _ = select.select([receiving], [], [], max(end - time.monotonic(), 0.0))
        if not ready:
            raise ConfigError(
                f"env {name}: it gave no answer for {limit_s:g} s while {stage}; if it is only slow, raise --limit."
            )
        data = os.read(receiving, 1 << 16)
        if not data:
            raise ConfigError(f"env {name}: its process {_ended(pid)} while {stage}.")
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "found" in message:
                found: dict[str, Any] = message["found"]
                return found
            if "error" in message:
                raise ConfigError(str(message["error"]))
            stage, end = message["stage"], time.monotonic() + limit_s


def _ended(pid: int) -> str:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
