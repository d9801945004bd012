"""``python -m lit_rl``."""

from __future__ import annotations

import os
import sys

from lit_rl.process import ignore_stop_signals, own


def main() -> None:
    """Run the command line and exit with its code. Classes in the working directory can be named."""
    own()
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
