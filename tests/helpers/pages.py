"""The code blocks of the pages, as they stand there."""

from __future__ import annotations

import re
from typing import Any

from tests.helpers.cli import ROOT


def blocks(page: str, language: str) -> list[str]:
    """The blocks of one language in a page, which is named from the repository's root."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def block(page: str, language: str, number: int = 0, **replaced: str) -> str:
    """One block; `replaced` gives for a text of it another, such as a shorter training. Each must be there."""
    text = blocks(page, language)[number]
    for old, new in replaced.items():
        assert old in text, f"{page} has no {old} any more"
        text = text.replace(old, new)
    return text


def run_block(code: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run Python of a page; gives the names it leaves. `names` are those it finds."""
    left = {"__name__": "__main__", **(names or {})}
    exec(compile(code, "page", "exec"), left)
    return left
