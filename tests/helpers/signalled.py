"""``python -m tests.helpers.signalled POINT SIGNAL WORD...``: the command line, with a signal to itself at some point.

A point is `module:attribute` of a function or method, with `@n` for its n-th call (from 1) and `!` in front for right
after the call instead of right before it.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from typing import Any


def plant(point: str, number: signal.Signals) -> None:
    """Make the process send itself a signal."""
    after, point = point.startswith("!"), point.lstrip("!")
    path, _, nth = point.partition("@")
    module, _, attribute = path.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = attribute.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    unchanged, calls = getattr(owner, name), []

    @functools.wraps(unchanged)
    def signalled(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        now = len(calls) == int(nth or 1)
        if now and not after:
            os.kill(os.getpid(), number)
        result = unchanged(*args, **kwargs)
        if now and after:
            os.kill(os.getpid(), number)
        return result

    setattr(owner, name, signalled)


if __name__ == "__main__":
    import lit_rl.cli.fit  # noqa: F401  (everything that a point may name)

    plant(sys.argv[1], signal.Signals[sys.argv[2]])
    from lit_rl.cli.dispatch import run_command

    sys.exit(run_command(sys.argv[3:]))
