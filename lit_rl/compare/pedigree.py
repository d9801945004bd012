"""A run's lineage as a picture: its ancestors from above, then its own process lifetimes as a bar over timesteps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_rl.compare.history import RunHistory, read_lineage
from lit_rl.compare.html import esc
from lit_rl.compare.table import short_count

_MOST = 8
_WIDTH = 360
_BOX = 50
_ARROW = 44
_LETTERS = 46


@dataclass(frozen=True)
class Ancestor:
    """A run, or a file, that another began from.

    Args:
        title: what it is.
        detail: a line about it.
        link: how the next one began from it.
        is_there: whether it can still be found.
    """

    title: str
    detail: str
    link: str
    is_there: bool


def ancestors(history: RunHistory) -> list[Ancestor]:
    """From the oldest that can be told to the parent; at most eight, and none twice."""
    found: list[Ancestor] = []
    parents, mode, seen = history.parents, history.record.mode, {history.directory.resolve()}
    while parents and len(found) < _MOST:
        path = Path(str(parents[0].get("path")))
        run = _run_of(path)
        timesteps = parents[0].get("timesteps")
        at = f" at {timesteps:,}" if type(timesteps) is int else ""
        title = f"{run.parent.name}/{run.name}" if run is not None else path.name
        digest = str(parents[0].get("digest") or parents[0].get("sha256") or "")[:12]
        is_there = path.exists()
        detail = f"{path.name if run is not None else ''} {digest} {'' if is_there else '(gone)'}"
        found.insert(0, Ancestor(title, " ".join(detail.split()), f"{mode or '?'}{at}", is_there))
        lineage = None if run is None or run.resolve() in seen else read_lineage(run)
        if lineage is None or run is None:
            break
        seen.add(run.resolve())
        parents, mode = lineage.parents, str(lineage.mode)
    return found


def _run_of(path: Path) -> Path | None:
    """The run directory that a checkpoint's path says, be it there or not."""
    return path.parent.parent if path.parent.name == "checkpoints" else None


def pedigree(history: RunHistory) -> str:
    """The picture, with what it says as its label."""
    above = ancestors(history)
    parts, y = [], 6
    for each in above:
        parts.append(_box(y, each.title, each.detail, "there" if each.is_there else "gone"))
        parts.append(_arrow(y + _BOX, each.link))
        y += _BOX + _ARROW
    record = history.record
    mode = "fresh: random weights" if record.mode == "fresh" else f"{record.mode or 'unknown beginning'}"
    parts.append(_box(y, record.title, f"{mode}, {record.state}", "self"))
    y += _BOX + 12
    bar, height = _segments(history, y)
    said = [*(f"{each.title} ({each.detail}), then {each.link}" for each in above), record.title, *_said(history)]
    label = esc(f"Lineage: {'; '.join(said)}")
    start = f'<svg class="pedigree" viewBox="0 0 {_WIDTH} {y + height}" role="img" aria-label="{label}">'
    return f"{start}{''.join(parts)}{bar}</svg>"


def _box(y: int, title: str, detail: str, kind: str) -> str:
    return (
        f'<g class="box {kind}"><rect x="1" y="{y}" width="{_WIDTH - 2}" height="{_BOX}" rx="6"/>'
        f'<text class="name" x="12" y="{y + 21}">{esc(_short(title))}</text>'
        f'<text class="tick" x="12" y="{y + 39}">{esc(_short(detail))}</text></g>'
    )


def _arrow(y: int, text: str) -> str:
    end = y + _ARROW - 2
    return (
        f'<path class="arrow" d="M24 {y}V{end}M19 {end - 7}L24 {end}L29 {end - 7}"/>'
        f'<text class="tick" x="38" y="{y + 27}">{esc(_short(text))}</text>'
    )


def _segments(history: RunHistory, y: int) -> tuple[str, int]:
    """The bar of process lifetimes, and how high it is."""
    spans = _spans(history)
    last = max((end for _, _, end in spans), default=0)
    if not last:
        return "", 0
    parts = []
    for i, (number, begin, end) in enumerate(spans):
        x, width = 1 + begin / last * (_WIDTH - 2), max((end - begin) / last * (_WIDTH - 2), 1.5)
        row = y + 22 * (i % 2)
        parts.append(f'<rect class="segment" x="{x:.1f}" y="{row}" width="{width:.1f}" height="18" rx="3"/>')
        if width > 18:
            parts.append(f'<text class="onbar" x="{x + width / 2:.1f}" y="{row + 13}">{number}</text>')
    rows = 2 if len(spans) > 1 else 1
    base = y + 22 * rows + 12
    parts.append(f'<text class="tick" x="1" y="{base}">0</text>')
    parts.append(f'<text class="tick end" x="{_WIDTH - 1}" y="{base}">{short_count(last)} timesteps</text>')
    return "".join(parts), 22 * rows + 18


def _spans(history: RunHistory) -> list[tuple[int, int, int]]:
    """Number, first and last timestep of every segment; one without an end goes as far as is known."""
    spans = []
    for i, segment in enumerate(history.segments):
        later: Any = (
            history.segments[i + 1].from_timesteps if i + 1 < len(history.segments) else history.record.timesteps
        )
        end = segment.to_timesteps if segment.to_timesteps is not None else later
        spans.append((segment.number, max(segment.from_timesteps, 0), max(end or 0, segment.from_timesteps, 0)))
    return spans


def _said(history: RunHistory) -> list[str]:
    return [f"segment {number} from {begin:,} to {end:,}" for number, begin, end in _spans(history)]


def _short(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 12]}..{text[-10:]}"
