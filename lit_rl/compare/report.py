"""Runs as one HTML file that needs no network: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from lit_rl.compare.history import RunHistory
from lit_rl.compare.html import esc
from lit_rl.compare.sections import run_section
from lit_rl.compare.together import together
from lit_rl.version import __version__

BY = ("name", "algorithm")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; media-src data:"


def report(histories: Sequence[RunHistory], by: str = "name") -> str:
    """The page.

    Args:
        histories: of the runs; what is damaged in them is said in the page.
        by: what the seeds of one group share besides their environment, one of `BY`.
    """
    title = "Run report" if len(histories) == 1 else f"Report of {len(histories)} runs"
    parts = [together(histories, by), _contents(histories)] if len(histories) > 1 else []
    parts += [run_section(history, f"run{i}") for i, history in enumerate(histories)]
    style = Path(__file__).with_name("report.css").read_text()
    made = f"lit-rl {__version__}, {datetime.now(UTC).isoformat(timespec='minutes')[:16].replace('T', ' ')} UTC"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{esc(title)}</title><style>{style}</style></head>\n"
        f"<body><main><h1>{esc(title)}</h1>{''.join(parts)}</main><footer>{esc(made)}</footer></body></html>\n"
    )


def _contents(histories: Sequence[RunHistory]) -> str:
    items = "".join(f'<li><a href="#run{i}">{esc(each.record.title)}</a></li>' for i, each in enumerate(histories))
    return f'<nav aria-label="Runs"><ul>{items}</ul></nav>'
