"""What errors look like, and the code each exits with."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from lit_rl.errors import EXIT_INTERRUPTED, EXIT_IO, EXIT_OK, LitRLError


def exit_code_of(command: Callable[[], int]) -> int:
    """Run a command; returns its exit code. What a user can mend is one line on standard error."""
    try:
        code = command()
        sys.stdout.flush()  # here, where it can still be said that it failed
        return code
    except LitRLError as error:
        if error.reported:
            return error.exit_code
        print(f"error: {error}", file=sys.stderr)
        for note in getattr(error, "__notes__", []):
            print(note, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _leave_stdout()
        return EXIT_OK
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"error: cannot write {error.filename or 'standard output or a log'}: {error.strerror}.", file=sys.stderr)
        _leave_stdout()
        return EXIT_IO


def _leave_stdout() -> None:
    """What is still buffered cannot be written: Python would try again as it ends, and exit with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
