"""The list of metrics."""

from __future__ import annotations

from lit_rl.training.metrics import METRICS
from tests.helpers.cli import ROOT


def test_the_docs_have_the_whole_list() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    assert [f"| `{name}` | {meaning} |" for name, meaning in METRICS.items()] == [
        line for line in text.splitlines() if line.startswith("| `")
    ]
