"""What errors look like, and the code each exits with."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

from lit_rl.errors import EXIT_INTERRUPTED, LitRLError, StorageError, chain, of_the_device, of_the_disk
from lit_rl.process import forget


def exit_code_of(command: Callable[[], int]) -> int:
    """Run a command; returns its exit code. What a user can mend is one line on standard error."""
    try:
        code = command()
        sys.stdout.flush()  # here, where it can still be said that it failed
        return code
    except LitRLError as error:
        return _reported(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:
        first = next((each for each in chain(error) if isinstance(each, StorageError)), None)  # a logger says it again
        of_disk = of_the_disk(error)
        if of_disk is None:
            raise
        return _reported(first or of_disk)
    except RuntimeError as error:
        of_device = of_the_device(error)
        if of_device is None:
            raise
        for note in getattr(error, "__notes__", []):
            of_device.add_note(note)
        return _reported(of_device)
    finally:
        _flush()


def _reported(error: LitRLError) -> int:
    if not error.reported:
        print("\n".join([f"error: {error}", *getattr(error, "__notes__", [])]), file=sys.stderr)
    return error.exit_code


def _flush() -> None:
    """What is still buffered and cannot be written, Python would try again as it ends, and exit with 120."""
    try:
        with contextlib.suppress(ValueError):  # closed by somebody
            sys.stdout.flush()
    except OSError:
        forget(sys.stdout)
