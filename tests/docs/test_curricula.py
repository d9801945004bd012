"""Every curriculum in the pages is one."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from lit_rl.curriculum import make_curriculum
from lit_rl.curriculum.strategies.build import strategies
from tests.helpers.cli import ROOT
from tests.helpers.pages import blocks, run_block

PAGES = ("docs/curriculum.md", "docs/curriculum_strategies.md", "docs/curriculum_from.md", "docs/tutorial/levels.md")


def curricula() -> list[Any]:
    found = []
    for page in PAGES:
        for i, text in enumerate(blocks(page, "yaml")):
            whole = yaml.safe_load(text)
            if isinstance(whole, dict) and whole.get("curriculum"):
                found.append(pytest.param(whole["curriculum"], id=f"{page}[{i}]"))
    return found


@pytest.mark.parametrize("block", curricula())
def test_it_is_read(block: dict[str, Any]) -> None:
    curriculum = make_curriculum(block, 8)
    assert curriculum is not None
    assert curriculum.assignment(0).level(0, 0, lambda _: 0.5)[0] < len(curriculum.levels)


def test_there_are_enough_of_them() -> None:
    assert len(curricula()) >= 10


def test_every_strategy_has_a_section() -> None:
    page = (ROOT / "docs" / "curriculum_strategies.md").read_text()
    assert [name for name in strategies() if f"\n## {name}\n" not in page] == []


def test_the_sampler_of_your_own_runs() -> None:
    (code,) = blocks("docs/curriculum_strategies.md", "python")
    sampler = run_block(code)["Hardest"](window=100, uniform=0.1)
    sampler.begin(("a", "b"), 4, 0)
    assert sampler.choice().level(0, 0, 0.9)[0] == 1
