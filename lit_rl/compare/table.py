"""Runs as a table for a terminal: what does not fit is left out, the least needed column first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lit_rl.compare.runs import RunRecord

_GAP = 2
_SHORTEST = 20
"""Text is shortened down to so many characters before a column is left out."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str
    cells: list[str]
    keep: int
    """Columns of a lower number are left out first."""
    is_number: bool = False
    shortens: bool = False

    def width(self, most: int | None = None) -> int:
        natural = max(len(cell) for cell in [self.title, *self.cells])
        return natural if most is None or not self.shortens else min(natural, max(most, len(self.title)))


def runs_table(records: Sequence[RunRecord], width: int) -> list[str]:
    """The lines of the table, none wider than `width` characters (with a run's name and state at the least)."""
    return laid_out(_columns(records), width)


def laid_out(columns: Sequence[Column], width: int) -> list[str]:
    """The lines of a table, none wider than `width` characters (with two columns at the least)."""
    columns = [column for column in columns if any(cell.strip("-") for cell in column.cells)]
    shortest: int | None = None
    while _total(columns, shortest) > width:
        if shortest is None or shortest > _SHORTEST:
            widest = max((column.width(shortest) for column in columns if column.shortens), default=_SHORTEST)
            shortest = widest - 1 if widest > _SHORTEST else _SHORTEST
        elif len(columns) > 2:
            columns.remove(min(columns, key=lambda column: column.keep))
            shortest = None
        else:
            break
    lines = [[column.title, *column.cells] for column in columns]
    padded = [
        [_padded(cell, column.width(shortest), column.is_number) for cell in cells]
        for column, cells in zip(columns, lines, strict=True)
    ]
    return [(" " * _GAP).join(row).rstrip() for row in zip(*padded, strict=True)]


def _total(columns: Sequence[Column], shortest: int | None) -> int:
    return sum(column.width(shortest) for column in columns) + _GAP * (len(columns) - 1)


def _padded(text: str, width: int, is_number: bool) -> str:
    if len(text) > width:
        tail = f"/{text.rpartition('/')[2]}" if "/" in text[-width // 2 :] else text[-(width // 3) :]
        text = f"{text[: max(width - 2 - len(tail), 1)]}..{tail}"[:width]
    return text.rjust(width) if is_number else text.ljust(width)


def _columns(records: Sequence[RunRecord]) -> list[Column]:
    def cells(of: Callable[[RunRecord], object]) -> list[str]:
        return [shown(of(record)) for record in records]

    return [
        Column("run", cells(lambda r: r.short), 100, shortens=True),
        Column("state", cells(lambda r: r.state), 99),
        Column("env", cells(_env), 60, shortens=True),
        Column("algo", cells(lambda r: r.algorithm), 70),
        Column("seed", cells(lambda r: r.seed), 75, is_number=True),
        Column("timesteps", cells(_progress), 90, is_number=True),
        Column("level", cells(_level), 65, is_number=True),
        Column("last", cells(lambda r: number(r.returns.last)), 80, is_number=True),
        Column("best", cells(lambda r: number(r.returns.best)), 85, is_number=True),
        Column("mode", cells(lambda r: r.mode), 30),
        Column("started", cells(lambda r: moment(r.started)), 40),
        Column("parent", cells(_parent), 20, shortens=True),
    ]


def shown(value: object) -> str:
    """A value in one line of printable text; `-` for nothing."""
    text = "-" if value is None or value == "" else str(value)
    return "".join(character if character.isprintable() else "?" for character in text)


def number(value: float | None) -> str | None:
    """Four figures."""
    return None if value is None else f"{value:.4g}" if abs(value) < 10000 else f"{value:,.0f}"


def moment(time: str | None) -> str | None:
    """UTC time to the minute."""
    return None if time is None else str(time)[:16].replace("T", " ")


def short_count(count: int | None) -> str:
    """`20.2k` for 20,224."""
    if count is None:
        return "?"
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def _progress(record: RunRecord) -> str | None:
    if record.timesteps is None and record.target is None:
        return None
    return f"{short_count(record.timesteps or 0)}/{short_count(record.target)}"


def _level(record: RunRecord) -> str | None:
    return None if record.level is None else f"{record.level}/{(record.levels or 1) - 1}"


def _env(record: RunRecord) -> str | None:
    return None if record.env is None else record.env.rsplit(".", 1)[-1] if "/" not in record.env else record.env


def _parent(record: RunRecord) -> str | None:
    if record.parent is None:
        return None
    parts = [part for part in record.parent.split("/") if part and part != "checkpoints"]
    return "/".join(parts[-3:])
