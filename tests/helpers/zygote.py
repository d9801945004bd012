"""``python -m tests.helpers.zygote SOCKET``: starts commands by forking, with the imports behind it.

A process that has imported what `lit_rl` needs takes four seconds to make, and tests of whole runs make hundreds. What
a forked child then does is `python -m MODULE WORD...`, in its own directory, with its own environment and handlers.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from typing import Any


def serve(path: str) -> None:
    """Take requests until the process that started this one is gone."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    listener.settimeout(1.0)
    parent = os.getppid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            connection = listener.accept()[0]
            connection.settimeout(None)
            data, fds, _, _ = socket.recv_fds(connection, 1 << 20, 2)
            if os.fork() == 0:
                listener.close()
                _mind(connection, json.loads(data), fds)
            connection.close()
            for fd in fds:
                os.close(fd)


def _mind(connection: socket.socket, request: dict[str, Any], fds: list[int]) -> None:
    """Be the parent of one command: tell its process id, and in the end its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        connection.close()
        _become(request, fds)
        return
    for fd in (*fds, 0, 1, 2):
        os.close(fd)
    os.setsid()
    with contextlib.suppress(OSError):
        connection.sendall(f"{pid}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(f"{code}\n".encode())
    os._exit(0)


def _become(request: dict[str, Any], fds: list[int]) -> None:
    """Run the command in this process. Leaves by SystemExit, as a command does."""
    if request["new_session"]:
        os.setsid()
    for fd, number in zip(fds, (1, 2), strict=True):
        os.dup2(fd, number)
        os.close(fd)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is started without
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = [request["module"], *request["words"]]
    sys.path[:] = [request["cwd"], *(path for path in sys.path if path != request["cwd"])]
    importlib.invalidate_caches()
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    sys.exit(0)


if __name__ == "__main__":
    import lit_rl.cli.commands.show
    import lit_rl.cli.commands.verify
    import lit_rl.cli.fit  # noqa: F401

    serve(sys.argv[1])
