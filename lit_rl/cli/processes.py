"""Running a command of ours in a process of its own, to its end."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import IO

import torch

from lit_rl.cli.report import exit_code_of


def run_apart(argv: list[str]) -> subprocess.CompletedProcess[str]:
    """``python -m lit_rl ARGUMENT...``, as a user starts it."""
    command = [sys.executable, "-m", "lit_rl", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run_forked(argv: list[str]) -> subprocess.CompletedProcess[str]:
    """The same for `fit` by forking this process. That spares the imports, which take longer than a short run.

    This process must not have computed anything with torch. A build of torch with CUDA cannot be relied on after a
    fork; there it is `run_apart`.
    """
    if torch.version.cuda is not None:
        return run_apart(argv)
    import lit_rl.cli.fit  # noqa: F401  (what the child needs)
    from lit_rl.cli.given import read_arguments
    from lit_rl.cli.lightning import run_lightning

    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os._exit(_in_child(argv, lambda: run_lightning(argv[0], read_arguments(argv[1:])), out, err))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(argv, code, out.read(), err.read())


def _in_child(argv: list[str], command: Callable[[], int], out: IO[str], err: IO[str]) -> int:
    code = 1
    atexit._clear()  # what this process leaves to do is not the child's: it would delete its directories
    try:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.argv = [sys.argv[0], *argv]  # what further processes of this run are started with
        code = exit_code_of(command)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()
    return code
