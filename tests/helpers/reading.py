"""``python -m tests.helpers.reading LOG WORD...``: the command line, and in a file what each rank opens for reading."""

from __future__ import annotations

import os
import sys
from typing import Any


def record(log: str) -> None:
    """Add a line `RANK PATH` to a file for every file that is opened for reading from now on."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], str) and (args[2] or 0) & 3 == 0:
            os.write(descriptor, f"{os.environ.get('LOCAL_RANK', 0)} {args[0]}\n".encode())

    sys.addaudithook(hook)


if __name__ == "__main__":
    record(sys.argv[1])
    from lit_rl.cli.dispatch import run_command
    from lit_rl.ranks import launch

    code = run_command(sys.argv[2:])
    if launch.several:
        launch.leave(code)
    sys.exit(code)
