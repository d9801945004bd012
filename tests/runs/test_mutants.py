"""Any single mistake in a whole run.yaml ends in a run that means what is written, or in code 2 and its key."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.helpers.mutants import WHOLE, Mutant, mutants, outcome

_PARTS = 8
_EACH = 260


def _try(among: list[Mutant], count: int) -> None:
    tried: set[Mutant] = set()

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(among))
    def each(mutant: Mutant) -> None:
        if mutant in tried:
            return
        tried.add(mutant)
        with tempfile.TemporaryDirectory() as directory:
            wrong = outcome(mutant, Path(directory))
        assert wrong is None, f"{mutant}: {wrong}"

    each()
    print(f"{len(tried)} mutants of {len(among)} tried")
    assert len(tried) >= 0.9 * count


@pytest.mark.timeout(900)
def test_some_mutants() -> None:
    _try(mutants(), 150)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(_PARTS))
def test_many_mutants(part: int) -> None:
    """More than 2,000 in all, no two alike."""
    _try(mutants()[part::_PARTS], _EACH)


def test_the_file_that_is_mutated_has_every_block() -> None:
    from lit_rl.cli.blocks import BLOCKS

    assert {*BLOCKS, "model", "trainer"} <= WHOLE.keys()
    assert len(mutants()) > 4000
