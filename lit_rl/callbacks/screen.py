"""The last lines of a terminal, drawn over and over; whatever else is printed goes above them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any, TextIO

_UP, _TO_END_OF_LINE, _TO_END_OF_SCREEN = "\x1b[{}A", "\x1b[K", "\x1b[J"
_STREAMS = ("stdout", "stderr")


class Screen:
    """Some lines at the bottom of a terminal. Colours are not used, and the cursor stays visible.

    From `take_over` or the first picture until `close`, what Python code prints to a terminal is put above them, line
    by line. Who prints while another thread draws the first one may have the stream of before: take over first.

    Args:
        stream: of the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lock = stream, threading.RLock()
        self._lines: list[str] = []
        self._size = self.size()
        self._taken: dict[str, Any] = {}

    def size(self) -> os.terminal_size:
        """Columns and rows."""
        try:
            found = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):  # it has gone
            found = os.terminal_size((0, 0))
        return found if found.columns and found.lines else os.terminal_size((80, 24))

    def draw(self, lines: Sequence[str], at_once: bool = False) -> None:
        """Put new lines in the place of those before; none of them may be wider than the terminal.

        While somebody changes its size, nothing is drawn until it stays, but for what has to be drawn `at_once`.
        """
        with self._lock:
            before, self._size = self._size, self.size()
            if self._size != before and not at_once:
                return
            self.take_over()
            self._put(lines)

    def above(self, text: str, stream: TextIO) -> None:
        """Print whole lines above the picture."""
        with self._lock:
            lines, self._lines = self._lines, []
            if lines:
                self._stream.write(self._start(lines) + _TO_END_OF_SCREEN)
                self._stream.flush()
            stream.write(text)
            stream.flush()
            if lines:
                self._put(lines)

    def leave(self) -> None:
        """Let the picture stand: something was written below it, and the next one comes below that."""
        with self._lock:
            self._lines = []

    def close(self) -> None:
        """Let the last picture stand, and give the terminal back."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._lines:
                self._stream.write("\n")
                self._stream.flush()
            self._lines = []
        for name, above in self._taken.items():
            if getattr(sys, name) is above:
                setattr(sys, name, above.stream)
            above.end()
        self._taken = {}

    def take_over(self) -> None:
        """Let what is printed from now on come here."""
        for name in () if self._taken else _STREAMS:
            stream = getattr(sys, name)
            if stream is not None and stream.isatty():
                self._taken[name] = _Above(stream, self)
                setattr(sys, name, self._taken[name])

    def _put(self, lines: Sequence[str]) -> None:
        drawn = [line.rstrip() for line in lines]
        text = f"{_TO_END_OF_LINE}\r\n".join(drawn) + _TO_END_OF_LINE + _TO_END_OF_SCREEN
        self._stream.write(self._start(self._lines) + text)
        self._stream.flush()
        self._lines = drawn

    def _start(self, lines: Sequence[str]) -> str:
        """To the first letter of a picture at whose end the cursor is; never above it, whatever became of its lines."""
        return "\r" + (_UP.format(len(lines) - 1) if len(lines) > 1 else "")


class _Above:
    """A standard stream whose lines go above the picture; the start of a line waits for its end."""

    def __init__(self, stream: TextIO, screen: Screen) -> None:
        self.stream, self._screen, self._start = stream, screen, ""

    def write(self, text: str) -> int:
        whole, newline, rest = (self._start + text).rpartition("\n")
        self._start = rest
        if newline:
            self._screen.above(whole + newline, self.stream)
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        """Whole lines have been."""

    def end(self) -> None:
        """Give out what still waits."""
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(self._start)
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
