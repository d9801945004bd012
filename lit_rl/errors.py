"""What a user can cause, and the exit code each cause has.

A `LitRLError` is shown as one line without a traceback; any other exception is a bug of ours and keeps its
traceback.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import linecache
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

EXIT_OK = 0
EXIT_CONFIG = 2
EXIT_DATA = 65
EXIT_IO = 74
EXIT_STOPPED = 75
EXIT_INTERRUPTED = 130


class LitRLWarning(UserWarning):
    """Something a user should know that does not stop the run."""


class LitRLError(Exception):
    """An error with a cause the user can mend; the process exits with `exit_code`."""

    exit_code = 1
    reported = False
    """Whether another rank reports it, so that it is said once."""
    agreed = False
    """Whether all ranks know of it and exit with it."""


class ConfigError(LitRLError):
    """A mistake in the configuration: the message names the key, what is wrong and the fix."""

    exit_code = EXIT_CONFIG


class DataError(LitRLError):
    """A file that is damaged, or that we refuse to read."""

    exit_code = EXIT_DATA


class Held(LitRLError):
    """Another process works on the run. The same command succeeds once that one has ended: it can be tried again."""

    exit_code = EXIT_STOPPED


class Diverged(LitRLError):
    """The loss or its gradient was not finite too many times in a row."""


class StorageError(LitRLError):
    """The disk said no: full, read-only, gone."""

    exit_code = EXIT_IO


class DiskFull(StorageError):
    """There is no room: deleting something may help."""


class NotFinite(LitRLError):
    """The state of a run holds NaN or infinity: training has gone wrong."""


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a disk without room says."""
_DISK = (errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ESTALE, errno.ENOLCK, errno.ENXIO, errno.ENODEV)
_LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG, errno.ELOOP)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what has led to it, each once: those of another thread, raised again, can form a ring."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def of_the_disk(error: BaseException | None, place: Any = None) -> StorageError | None:
    """What the disk has said, in one line, whatever thread and library it comes from; `None` for other errors.

    `place`: what was written, where the error does not know.
    """
    if not isinstance(error, OSError) or error.errno not in (*FULL, *_DISK, *_LIMITS):
        return None
    kind, verb = (DiskFull, "write") if error.errno in FULL else (StorageError, "read or write")
    what = error.filename or place or "a log or standard output"
    return kind(f"cannot {verb} {what}: {error.strerror}{users_line(error)}.")


def of_the_device(error: BaseException | None) -> ConfigError | None:
    """What torch has said of the device that can be mended in the configuration, in one line; `None` for others."""
    for each in chain(error):
        text = " ".join(str(each).split())
        if type(each).__name__ == "OutOfMemoryError":
            return ConfigError(
                f"the device has too little memory: {'. '.join(text.split('. ')[:2]).rstrip('.')}. Use a smaller "
                f"model.batch_size or network, or trainer.accelerator: cpu{users_line(each)}."
            )
        if isinstance(each, RuntimeError) and "does not have a deterministic implementation" in text:
            return ConfigError(
                f"trainer.deterministic: {text.split(', but you set')[0]}. Use another operation there, or "
                f"trainer.deterministic: warn, with which a resumed run may differ in its last bits{users_line(each)}."
            )
    return None


@contextlib.contextmanager
def disk_named(place: Any) -> Iterator[None]:
    """Turn what the disk says to somebody else's code into one line."""
    try:
        yield
    except OSError as error:
        found = of_the_disk(error, place)
        if found is None:
            raise
        raise found from error


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence naming the nearest of `known`, or an empty string when none is near."""
    names = [str(name) for name in known]
    near = [name for name in names if name.casefold() == str(word).casefold()]
    near = near or difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


_OTHERS = tuple(str(Path(path).resolve()) for path in {*sysconfig.get_paths().values(), str(Path(__file__).parent)})


def raised(error: BaseException) -> str:
    """What an exception says, in one line, with the line of the user's own file that it comes from, if there is one."""
    text = " ".join("".join(traceback.format_exception_only(error)[-1:]).split()).rstrip(".:")
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, AssertionError) and not str(error) and frames:
        text = f"AssertionError: {linecache.getline(frames[-1].filename, frames[-1].lineno or 0).strip()}"
    return f"{text if len(text) <= 300 else text[:300] + '...'}{users_line(error)}"


def users_line(error: BaseException) -> str:
    """The line of the user's own file that an exception comes from, in brackets; empty where there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [(frame.filename, frame.lineno) for frame in frames if _is_users(frame.filename)]
    if isinstance(error, SyntaxError) and error.filename:
        own.append((error.filename, error.lineno))
    return f" ({own[-1][0]}:{own[-1][1]})" if own else ""


def _is_users(filename: str) -> bool:
    """Whether a source file is neither of this package, nor of Python, nor installed."""
    path = str(Path(filename).resolve())
    return not filename.startswith("<") and "site-packages" not in path and not path.startswith(_OTHERS)
