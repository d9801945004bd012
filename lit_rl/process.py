"""What belongs to a process and not to a run: its standard streams, its stop signals, its processor, its memory.

Nobody may read what a run prints: a pipe's reader has gone, a terminal has hung up, the shell has closed the stream. No
run ends for that, and nothing is written into a file that has got the number of a closed stream.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import os
import platform
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FrameType
from typing import IO, Any, TextIO, cast

from lit_rl.errors import EXIT_OK, EXIT_STOPPED, of_the_disk

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)
)
_NO_READER = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF)

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of glibc's mallopt."""

_NARROWEST = 40
"""Columns of a terminal in which lines are still broken between words."""

_owned = False


def is_owned() -> bool:
    """Whether this process is the command line's: it ends when its command does."""
    return _owned


def own() -> None:
    """Take this process over for a command, before it opens anything."""
    global _owned
    _owned = True
    _fill_closed_streams()
    guard()
    threading.excepthook = _thread_has_failed


def _fill_closed_streams() -> None:
    """Point standard streams that are closed at nothing: the next file would get their number, and what they print."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest that is free
        os.set_inheritable(number, True)
    os.close(number)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def on_screen(text: str, stream: TextIO | None) -> str:
    """A text for people; where `stream` is a terminal, lines that are too long for it are broken between words."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns if stream is not None and stream.isatty() else 0
    except (OSError, ValueError):  # a terminal that has gone, or something that says it is one
        columns = 0
    if columns < _NARROWEST:
        return text
    return "\n".join(line if len(line) <= columns else _broken(line, columns) for line in text.split("\n"))


def _broken(line: str, columns: int) -> str:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(line, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _thread_has_failed(args: threading.ExceptHookArgs) -> None:
    """A thread of a library that writes files ends with what the disk said: one line; with a bug: its traceback."""
    said = of_the_disk(args.exc_value)
    if said is None:
        threading.__excepthook__(args)
    else:
        print(f"WARNING: {args.thread.name if args.thread else 'a thread'}: {said}", file=sys.stderr, flush=True)


class Outlet:
    """A standard stream that goes on when nobody reads it any more.

    Args:
        stream: where text goes as long as somebody reads.
        optional: whether nothing that this stream refuses is an error: there is no other place to say so.
    """

    def __init__(self, stream: TextIO, optional: bool) -> None:
        self._stream, self._optional = stream, optional

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._refused(error)
            return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._refused(error)

    def _refused(self, error: OSError) -> None:
        if isinstance(error, BlockingIOError):  # a reader that is slow, on a pipe that somebody has set not to wait
            return
        if not (self._optional or error.errno in _NO_READER or (error.errno == errno.EIO and not self._is_file())):
            raise error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            forget(self._stream)

    def _is_file(self) -> bool:
        try:
            return stat.S_ISREG(os.fstat(self._stream.fileno()).st_mode)
        except (OSError, ValueError):
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def forget(stream: TextIO) -> None:
    """Point a stream at nothing, whoever else writes to it: what is still buffered would be tried again at the end."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a number
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def guard() -> None:
    """Let standard output and error go on when nobody reads them."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, Outlet):
            continue
        if isinstance(stream, io.TextIOWrapper) and _owned:
            with contextlib.suppress(OSError):
                stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a name
        setattr(sys, name, cast(TextIO, Outlet(stream, optional=name == "stderr")))


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """The same for a while, in a process that is not ours."""
    before = sys.stdout, sys.stderr
    guard()
    ours = sys.stdout, sys.stderr
    try:
        yield
    finally:
        if sys.stdout is ours[0]:
            sys.stdout = before[0]
        if sys.stderr is ours[1]:
            sys.stderr = before[1]


def ignore_stop_signals() -> None:
    """The command is over and its exit code decided: no signal changes it any more."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def writes_in_order() -> bool:
    """Whether what one process writes into shared memory is seen by others in the order in which it was written."""
    return platform.machine().lower() in ("x86_64", "amd64")


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Import large packages, and look for garbage neither among them nor, later, in what they leave.

    torch and Lightning make half a million objects that live as long as the process. Looking through them again and
    again takes a fifth of their import, each full collection of a run, and more than a second as the process ends.
    Nothing happens in a process that is not ours.
    """
    looks = _owned and gc.isenabled()
    if looks:
        gc.disable()
    try:
        yield
    finally:
        if looks:
            gc.freeze()
            gc.enable()


def keep_freed_memory() -> None:
    """Let the C library keep memory that has been freed, up to a gigabyte at the end of its heap, for what comes next.

    glibc gives that end back at once. What lies between the layers of a network that sees images was then taken anew,
    page by page, in every minibatch: a twelfth of an iteration of PPO on Pong. Nothing happens with another C library,
    and where variables of the environment (``MALLOC_...``, ``GLIBC_TUNABLES``) say how memory is to be kept.
    """
    import ctypes  # nothing else here needs it, and every command imports this

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        mallopt(_TRIM_THRESHOLD, 1 << 30)
        mallopt(_MMAP_THRESHOLD, 1 << 25)  # the most it takes: what is larger is given back still


class HandedOn:
    """Hands stop signals on to the process that trains, each once.

    That one has a process group of its own: else a Ctrl-C in a terminal would reach it twice, which means at once.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self.came: list[int] = []
        """Signals so far."""

    def __enter__(self) -> HandedOn:
        heeded = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._hand_on) for number in heeded}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        self.came.append(number)
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(number)

    def run(
        self, command: Sequence[str], output: IO[bytes] | None = None, ends_early: Callable[[], bool] | None = None
    ) -> int:
        """Run a command to its end; returns its exit code, or 75 where a signal came before it.

        Args:
            command: the program and its arguments.
            output: where what it says goes; `None`: where this process's own goes.
            ends_early: asked every half second; once it says so, the command is sent SIGTERM.
        """
        if self.came:
            return EXIT_STOPPED
        self._child = subprocess.Popen(
            command, process_group=0, stdout=output, stderr=None if output is None else subprocess.STDOUT
        )
        for number in self.came:  # between the two
            self._child.send_signal(number)
        code = self._wait(self._child, ends_early)
        if self.came and (code == EXIT_OK or -code in self.came):
            return EXIT_STOPPED  # it had ended already, or had not begun; the next does not begin
        return code if code >= 0 else 128 - code

    def _wait(self, child: subprocess.Popen[bytes], ends_early: Callable[[], bool] | None) -> int:
        while ends_early is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(0.5)
            if ends_early() and not self.came:
                child.terminate()
                break
        return child.wait()
