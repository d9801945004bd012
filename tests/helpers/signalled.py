"""``python -m tests.helpers.signalled POINT[,POINT...] SIGNAL[*TIMES] WORD...``: a command that signals itself.

A point is `module:attribute` of a function or method, with `@n` for its n-th call (from 1) and `!` in front for right
after the call instead of right before it. At each the signal is sent, as many times as asked.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from typing import Any


def plant(point: str, number: signal.Signals, times: int = 1) -> None:
    """Make the process send itself a signal."""
    after, point = point.startswith("!"), point.lstrip("!")
    path, _, nth = point.partition("@")
    module, _, attribute = path.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = attribute.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    unchanged, calls = getattr(owner, name), []

    def send() -> None:
        for _ in range(times):
            os.kill(os.getpid(), number)

    @functools.wraps(unchanged)
    def signalled(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        now = len(calls) == int(nth or 1)
        if now and not after:
            send()
        result = unchanged(*args, **kwargs)
        if now and after:
            send()
        return result

    setattr(owner, name, signalled)


if __name__ == "__main__":
    import lit_rl.__main__ as main
    import lit_rl.cli.fit  # noqa: F401  (everything that a point may name)

    name, _, times = sys.argv[2].partition("*")
    for each in sys.argv[1].split(","):
        plant(each, signal.Signals[name], int(times or 1))
    sys.argv[1:] = sys.argv[3:]
    main.main()
