"""Pictures of many levels over time: stacked areas, and a map of cells. Inline SVG, as `chart` draws it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from lit_rl.compare.chart import Frame, x_axis, y_axis
from lit_rl.compare.html import esc
from lit_rl.compare.table import shown

MOST_COLOURS = 20
_MOST_POINTS = 160
_MOST_ROWS, _MOST_CELLS = 40, 80
_SHADES = 10
_LABELS = 8
_OVER = 0.4
"""By which cells lie over their neighbours, so that nothing shines through."""
_ROW_TEXT = 13
"""Height of a row that has room for its name."""
_SIZES = ((760, 300, "wide"), (360, 240, "narrow"))


def areas(title: str, timesteps: np.ndarray, shares: np.ndarray, names: Sequence[str]) -> str:
    """Shares as areas on top of each other, the first at the bottom; neighbours share a colour where there are many.

    Args:
        title: what it shows.
        timesteps: [T].
        shares: [T, L], finite.
        names: of the L levels.
    """
    parts = np.array_split(np.arange(len(names)), min(len(names), MOST_COLOURS))
    pieces = np.array_split(np.arange(len(timesteps)), min(len(timesteps), _MOST_POINTS))
    x = np.array([timesteps[piece].mean() if len(piece) > 1 else timesteps[piece[0]] for piece in pieces])
    x[0], x[-1] = timesteps[0], timesteps[-1]
    thin = np.stack([shares[piece].mean(axis=0) for piece in pieces])
    grouped = np.stack([thin[:, part].sum(axis=1) for part in parts], axis=1)
    labels = [_label(names, part) for part in parts]
    tops = np.cumsum(grouped, axis=1)
    tops = np.concatenate([np.zeros((len(x), 1)), tops / np.maximum(tops[:, -1:], 1e-9)], axis=1)
    if len(x) == 1:
        x, tops = np.array([0.0, x[0]]), np.repeat(tops, 2, axis=0)
    last = grouped[-1]
    said = " ".join(f"{label}: {share:.0%} at the end." for label, share in zip(labels, last, strict=True))

    def draw(width: int, height: int) -> str:
        frame = Frame(width, height, 40, 10, 0.0, max(float(x[-1]), 1.0), 0.0, 1.0)
        drawn = [y_axis(frame)]
        for i, label in enumerate(labels):
            upper = [f"{frame.x(a):.1f} {frame.y(b):.1f}" for a, b in zip(x, tops[:, i + 1], strict=True)]
            lower = [f"{frame.x(a):.1f} {frame.y(b):.1f}" for a, b in zip(x, tops[:, i], strict=True)]
            path = f"M{'L'.join(upper + lower[::-1])}Z"
            drawn.append(f'<path class="s{_shade(i, len(labels))}" d="{path}"><title>{esc(label)}</title></path>')
        return "".join(drawn) + x_axis(frame)

    kept = _thinned(len(labels))
    keys = "".join(_key(f"s{_shade(i, len(labels))}", labels[i]) for i in kept)
    more = "; the levels between these have the colours between" if len(kept) < len(labels) else ""
    return _figure(f"{title}, over timesteps{more}", f"{title}. {said}", draw, keys, _SIZES)


def cells(title: str, timesteps: np.ndarray, values: np.ndarray, names: Sequence[str], empty: str) -> str:
    """Values from 0 to 1 of every level over time, the first level at the bottom.

    Args:
        title: what it shows.
        timesteps: [T].
        values: [T, L], NaN where there is none.
        names: of the L levels.
        empty: what a cell without a value means.
    """
    parts = np.array_split(np.arange(len(names)), min(len(names), _MOST_ROWS))
    end = max(float(timesteps[-1]), 1.0)
    count = min(len(timesteps), _MOST_CELLS)
    place = np.minimum((timesteps / end * count - 1e-9).astype(np.int64).clip(0), count - 1)
    table = np.full((count, len(parts)), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of cells without a value
        for i in range(count):
            rows = values[place == i]
            if len(rows):
                table[i] = [np.nanmean(rows[:, part]) for part in parts]
            elif i:  # nothing was logged then
                table[i] = table[i - 1]
    labels = [_label(names, part) for part in parts]

    def draw(width: int, height: int) -> str:
        longest = 10 if width < 500 else 22
        texts = [_cut(label, longest) for label in labels]
        frame = Frame(width, height, 16 + 7 * max(map(len, texts)), 6, 0.0, end, 0.0, float(len(labels)))
        paths: dict[int, list[str]] = {}
        across = frame.x(end / count) - frame.x(0.0) + _OVER
        down = frame.y(0.0) - frame.y(1.0) + _OVER
        for i, row in zip(*np.nonzero(np.isfinite(table)), strict=True):
            shade = round(float(np.clip(table[i, row], 0.0, 1.0)) * _SHADES)
            cell = f"M{frame.x(i * end / count):.1f} {frame.y(row + 1):.1f}h{across:.1f}v{down:.1f}h-{across:.1f}z"
            paths.setdefault(shade, []).append(cell)
        drawn = "".join(f'<path class="h{shade}" d="{"".join(each)}"/>' for shade, each in sorted(paths.items()))
        step = max(int(np.ceil(_ROW_TEXT / down)), 1)
        texts = [
            f'<text class="tick level end" x="{frame.left - 6}" y="{frame.y(row + 0.5) + 4:.1f}">{esc(text)}</text>'
            for row, text in enumerate(texts)
            if row % step == 0
        ]
        return f'<g class="cells">{drawn}</g>{"".join(texts)}{x_axis(frame)}'

    keys = "".join(_key(f"h{shade}", f"{shade / _SHADES:.0%}") for shade in (0, 2, 5, 8, 10))
    last = [(label, column[np.isfinite(column)]) for label, column in zip(labels, table.T, strict=True)]
    said = " ".join(f"{label}: {known[-1]:.0%} at the end." for label, known in last if len(known))
    height = 46 + min(max(18 * len(labels), 72), 400)
    sizes = ((760, height, "wide"), (360, height, "narrow"))
    return _figure(f"{title}, over timesteps; empty: {empty}", f"{title}. {said}", draw, keys, sizes)


def _figure(
    caption: str, said: str, draw: Callable[[int, int], str], keys: str, sizes: Sequence[tuple[int, int, str]]
) -> str:
    drawings = "".join(
        f'<svg class="{size}" viewBox="0 0 {width} {height}" role="img" aria-label="{esc(said)}">'
        f"{draw(width, height)}</svg>"
        for width, height, size in sizes
    )
    return f'<figure><figcaption>{esc(caption)}</figcaption>{drawings}<ul class="legend">{keys}</ul></figure>'


def _key(kind: str, label: str) -> str:
    swatch = (
        f'<svg class="key" viewBox="0 0 26 10" aria-hidden="true"><rect class="{kind}" width="26" height="10"/></svg>'
    )
    return f"<li>{swatch}{esc(label)}</li>"


def _shade(i: int, count: int) -> int:
    return round(i * (MOST_COLOURS - 1) / max(count - 1, 1))


def _thinned(count: int) -> list[int]:
    """Indices of about as many as a legend has room for, both ends among them."""
    kept = count if count <= _LABELS else _LABELS - 1
    return sorted({round(i * (count - 1) / max(kept - 1, 1)) for i in range(kept)})


def _label(names: Sequence[str], part: np.ndarray) -> str:
    first, last = names[part[0]], names[part[-1]]
    return first if len(part) == 1 else f"{first} to {last}"


def _cut(text: str, most: int) -> str:
    text = shown(text)
    return text if len(text) <= most else f"{text[: most - 2]}.."
