"""``python -m lit_rl``."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from lit_rl.process import STOP_SIGNALS, ignore_stop_signals, own


def _leave(number: int, frame: FrameType | None) -> None:
    """A stop signal has come before the run has begun, or after it has ended: there is nothing to save."""
    if "LIT_RL_LAUNCHED_BY" not in os.environ:  # else the rank that has started this one says it
        os.write(2, f"stopped by {signal.Signals(number).name} before the run had begun.\n".encode())
    os._exit(75)


def _hear_stop_signals() -> None:
    """Leave at once, with a code that says so, until the run hears them itself. What is ignored (`nohup`) stays so.

    Imports take seconds, and an exception in the middle of one may be swallowed.
    """
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


def main() -> None:
    """Run the command line and exit with its code. Classes in the working directory can be named."""
    own()
    if sys.argv[1:2] == ["fit"]:
        _hear_stop_signals()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else torch prints its own stack where a rank is gone
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    from lit_rl.cli.dispatch import run_command

    code = run_command(sys.argv[1:])
    ignore_stop_signals()
    launch = sys.modules.get("lit_rl.ranks.launch")
    if launch is not None and launch.several:
        launch.leave(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
