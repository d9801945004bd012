"""Pieces of a page. Every text that is not ours goes through `esc`."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from lit_rl.compare.table import shown


def esc(text: object) -> str:
    """Text of somebody else's in a page: no tag, no attribute, no control characters."""
    return html.escape(shown(text), quote=True)


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values; those without a value are left out."""
    items = "".join(
        f"<div><dt>{esc(name)}</dt><dd>{esc(value)}</dd></div>" for name, value in pairs if value is not None
    )
    return f"<dl>{items}</dl>"


def table(caption: str, titles: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()) -> str:
    """A table that scrolls by itself where it is too wide; the columns in `numbers` are set to the right."""

    def cells(tag: str, row: Sequence[object]) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        right = [' class="number"' if i in numbers else "" for i in range(len(row))]
        return "".join(f"<{tag}{scope}{right[i]}>{esc(cell)}</{tag}>" for i, cell in enumerate(row))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    head = f"<thead><tr>{cells('th', titles)}</tr></thead>"
    label = esc(caption)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f"<table><caption>{label}</caption>{head}<tbody>{body}</tbody></table></div>"
    )


def folded(title: str, content: str) -> str:
    """Content that a click opens."""
    return f"<details><summary>{esc(title)}</summary>{content}</details>"


def note(text: str) -> str:
    """A line of text."""
    return f'<p class="note">{esc(text)}</p>'
