"""Columns of text on a terminal, and bars in them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tqdm.std import Bar
from tqdm.utils import disp_len, disp_trim

_SPARE = 2
"""What Ctrl-C writes at the end of a line."""
_WIDEST_NAME, _WIDEST_BAR, _NARROWEST_BAR = 24, 40, 5
_MARK = 2
_NUMBERS = {"envs": 6, "coming": 8, "success": 9}


class Columns:
    """A mark, a name, a bar and numbers, side by side in what room there is.

    Where there is little, the bar is left out first, then numbers from the right.

    Args:
        columns: of the terminal.
        names: all that will be shown.
        with_coming: whether there are shares of coming episodes.
    """

    def __init__(self, columns: int, names: Sequence[str], with_coming: bool) -> None:
        room = columns - _SPARE - _MARK
        self._name = max(min(max(map(disp_len, names), default=0), _WIDEST_NAME, room // 3), 6)
        self._numbers = {name: _NUMBERS[name] for name in _NUMBERS if name != "coming" or with_coming}
        while len(self._numbers) > 1 and self._name + sum(self._numbers.values()) > room:
            self._numbers.popitem()
        left = room - self._name - sum(self._numbers.values()) - 1
        self.bar = min(left, _WIDEST_BAR) if left >= _NARROWEST_BAR else 0
        self._room = room + _MARK

    def head(self, title: str) -> str:
        """A title, and what the numbers are."""
        numbers = "".join(f"{name:>{width}}" for name, width in self._numbers.items())
        return fitted(title, _MARK + self._name + (1 + self.bar if self.bar else 0)) + numbers

    def line(self, mark: str, name: str, bar: str, envs: int, coming: float | None, success: float | None) -> str:
        """One level."""
        values = {"envs": str(envs), "coming": _percent(coming), "success": _percent(success)}
        numbers = "".join(f"{values[each]:>{width}}" for each, width in self._numbers.items())
        return fitted(mark, _MARK) + self._named(name, bar) + numbers

    def bound(self, name: str, low: float, high: float, limits: tuple[float, float], ascii_only: bool) -> str:
        """A parameter between its bounds."""
        text = f" {low:.4g} to {high:.4g} of {limits[0]:.4g} to {limits[1]:.4g}"
        width = min(self.bar, self._room - _MARK - self._name - 1 - len(text))
        bar = f" {segment(low, high, limits, width, ascii_only)}" if width >= _NARROWEST_BAR else ""
        return fitted(f"{'':{_MARK}}{fitted(name, self._name)}{bar}{text}", self._room)

    def _named(self, name: str, bar: str) -> str:
        """A name and its bar; without a bar, the name may be as wide as both."""
        width = self._name + (1 + self.bar if self.bar else 0)
        return f"{fitted(name, self._name)} {bar}" if bar else fitted(name, width)


def fitted(text: str, width: int) -> str:
    """A text in exactly so many columns, printable."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    if disp_len(text) > width:
        text = str(disp_trim(text, max(width - 2, 0))) + ".."[:width]
    return text + " " * int(width - disp_len(text))


def pieces(share: float, width: int, ascii_only: bool) -> str:
    """A bar that is filled to a share of `width` columns."""
    bar = Bar(share, charset=Bar.ASCII if ascii_only else Bar.UTF)
    return f"{bar:{width}}" if width else ""


def segment(low: float, high: float, limits: tuple[float, float], width: int, ascii_only: bool) -> str:
    """A bar from `low` to `high` within its limits; a point is one column."""
    scale = width / (limits[1] - limits[0])
    first = min(math.floor((low - limits[0]) * scale + 1e-9), width - 1)
    last = max(math.ceil((high - limits[0]) * scale - 1e-9), first + 1)
    return "-" * first + ("#" if ascii_only else "█") * (last - first) + "-" * (width - last)


def _percent(share: float | None) -> str:
    if share is None:
        return "-"
    return "<1%" if 0.0 < share < 0.005 else f"{share:.0%}"
