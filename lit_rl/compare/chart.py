"""Line charts as inline SVG, drawn twice: for a wide page and for a phone; the style sheet shows one of them.

Colours are classes of the style sheet, so that a chart follows light and dark mode, and text is text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lit_rl.compare.html import esc
from lit_rl.compare.table import short_count

_MARK_ROWS = 3
_MARK_GAP = 20


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Args:
        label: for the legend.
        x: [T], and `y`: [T].
        colour: a number from 1; also chooses the dashes.
        low: lower edge of a band [T], and `high` its upper one.
        dots: whether points are drawn, too.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    colour: int = 1
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    dots: bool = False


@dataclass(frozen=True)
class Mark:
    """An upright line at a timestep, with a number that a table explains.

    Args:
        x: the timestep.
        number: from 1.
        kind: class of the style sheet.
        text: what it means, for readers of titles.
    """

    x: float
    number: int
    kind: str
    text: str


@dataclass(frozen=True)
class Frame:
    """Where things are on a drawing of `width` by `height`.

    Args:
        left: of the plot, and `top`.
        x_from: the value at its left edge, `x_to` at its right one, `y_from` at the bottom, and `y_to` at the top.
    """

    width: int
    height: int
    left: int
    top: int
    x_from: float
    x_to: float
    y_from: float
    y_to: float

    bottom = 34
    right = 12

    def x(self, value: float) -> float:
        share = (value - self.x_from) / (self.x_to - self.x_from)
        return self.left + share * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        share = (value - self.y_from) / (self.y_to - self.y_from)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)


def chart(title: str, lines: Sequence[Line], marks: Sequence[Mark] = (), unit: str = "") -> str:
    """A figure with its legend.

    Args:
        title: what it shows; with a sentence about each line also what is read out.
        lines: with at least one point among them.
        marks: upright lines.
        unit: of the y axis.
    """
    drawings = "".join(
        _drawing(title, lines, marks, width, height, size)
        for width, height, size in ((760, 320, "wide"), (360, 260, "narrow"))
    )
    keys = "".join(
        f'<li><svg class="key" viewBox="0 0 26 10" aria-hidden="true"><path class="line c{_colour(line)}" d="M1 5H25"/>'
        f"</svg>{esc(line.label)}</li>"
        for line in lines
    )
    caption = f"{esc(title)}{f' ({esc(unit)})' if unit else ''}, over timesteps"
    return f'<figure><figcaption>{caption}</figcaption>{drawings}<ul class="legend">{keys}</ul></figure>'


def _drawing(title: str, lines: Sequence[Line], marks: Sequence[Mark], width: int, height: int, size: str) -> str:
    frame = _frame(lines, marks, width, height)
    rows = _rows(frame, marks)
    frame = replace(frame, top=frame.top + 18 * (max(rows, default=-1) + 1))
    parts = [_grid(frame), *(_mark(frame, mark, row) for mark, row in zip(marks, rows, strict=True))]
    parts += [_band(frame, line) for line in lines if line.low is not None and line.high is not None]
    parts += [_line(frame, line) for line in lines]
    said = esc(f"{title}. {' '.join(_described(line) for line in lines)}")
    return f'<svg class="{size}" viewBox="0 0 {width} {height}" role="img" aria-label="{said}">{"".join(parts)}</svg>'


def _described(line: Line) -> str:
    """A line in a sentence."""
    last, best = float(line.y[-1]), float(line.y.max())
    return f"{line.label}: from {line.y[0]:.4g} to {last:.4g} at timestep {line.x[-1]:,.0f}, at most {best:.4g}."


def _frame(lines: Sequence[Line], marks: Sequence[Mark], width: int, height: int) -> Frame:
    xs = np.concatenate([line.x for line in lines])
    ys = np.concatenate([each for line in lines for each in (line.y, line.low, line.high) if each is not None])
    x_to = max(float(xs.max()), *(mark.x for mark in marks), 1.0)
    low, high = float(ys.min()), float(ys.max())
    room = (high - low) * 0.05 or max(abs(high) * 0.1, 0.5)
    low, high = low - room, high + room
    longest = max((len(_tick(value)) for value in ticks(low, high)), default=1)
    return Frame(width, height, 14 + 7 * longest, 10, 0.0, x_to, low, high)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about so many."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return []
    rough = span / about
    size = 10.0 ** math.floor(math.log10(rough))
    step = next((size * each for each in (1, 2, 5) if size * each >= rough), size * 10)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _tick(value: float) -> str:
    return f"{value:.6g}" if abs(value) < 1e5 else f"{value:.2g}"


def _grid(frame: Frame) -> str:
    return y_axis(frame) + x_axis(frame)


def y_axis(frame: Frame) -> str:
    """Lines at round numbers, and these."""
    parts = []
    for value in ticks(frame.y_from, frame.y_to):
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{frame.left} {y:.1f}H{frame.width - frame.right}"/>')
        parts.append(f'<text class="tick end" x="{frame.left - 6}" y="{y + 4:.1f}">{_tick(value)}</text>')
    return "".join(parts)


def x_axis(frame: Frame) -> str:
    """Timesteps."""
    parts = []
    for value in ticks(frame.x_from, frame.x_to, 4 if frame.width < 500 else 8):
        x = frame.x(value)
        place = f'x="{x:.1f}" y="{frame.height - frame.bottom + 18}"'
        anchor = "end" if x > frame.width - 30 else "middle"
        parts.append(f'<text class="tick {anchor}" {place}>{short_count(round(value)) if value >= 1 else "0"}</text>')
    base = frame.height - frame.bottom
    return "".join(parts) + f'<path class="axis" d="M{frame.left} {base}H{frame.width - frame.right}"/>'


def _rows(frame: Frame, marks: Sequence[Mark]) -> list[int]:
    """In which row the number of each mark has room."""
    ends = [-math.inf] * _MARK_ROWS
    rows = []
    for mark in marks:
        x = frame.x(mark.x)
        row = next((i for i, end in enumerate(ends) if x - end >= _MARK_GAP), int(np.argmin(ends)))
        ends[row] = x
        rows.append(row)
    return rows


def _mark(frame: Frame, mark: Mark, row: int) -> str:
    x, y = frame.x(mark.x), 12 + 18 * row
    x_text = min(max(x, 10), frame.width - 10)
    return (
        f'<g class="mark {mark.kind}"><title>{esc(mark.text)}</title>'
        f'<path d="M{x:.1f} {y + 9}V{frame.height - frame.bottom}"/><circle cx="{x_text:.1f}" cy="{y}" r="8.5"/>'
        f'<text x="{x_text:.1f}" y="{y + 3.5:.1f}">{mark.number}</text></g>'
    )


def _line(frame: Frame, line: Line) -> str:
    kept = thinned(line.y, frame.width)
    points = [(frame.x(float(line.x[i])), frame.y(float(line.y[i]))) for i in kept]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    drawn = f'<path class="line c{_colour(line)}" d="{path}"/>' if len(points) > 1 else ""
    if line.dots or len(points) == 1:
        drawn += "".join(f'<circle class="dot c{_colour(line)}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
    return drawn


def _band(frame: Frame, line: Line) -> str:
    assert line.low is not None
    assert line.high is not None
    upper = [f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in zip(line.x.tolist(), line.high.tolist(), strict=True)]
    lower = [f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in zip(line.x.tolist(), line.low.tolist(), strict=True)]
    return f'<path class="band c{_colour(line)}" d="M{"L".join(upper + lower[::-1])}Z"/>'


def _colour(line: Line) -> int:
    return (line.colour - 1) % 6 + 1


def thinned(y: np.ndarray, most: int) -> np.ndarray:
    """Indices of about `most` points: the lowest and the highest of each of `most / 2` pieces, and both ends."""
    if len(y) <= most:
        return np.arange(len(y))
    pieces = np.array_split(np.arange(len(y)), most // 2)
    kept = {0, len(y) - 1}
    for piece in pieces:
        kept |= {int(piece[y[piece].argmin()]), int(piece[y[piece].argmax()])}
    return np.array(sorted(kept))
