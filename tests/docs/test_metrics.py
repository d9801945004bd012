"""docs/metrics.md has what runs log, and little that none of these logs."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.helpers.cli import ROOT
from tests.inference.conftest import ALGORITHMS, trained  # noqa: F401

NAMES = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
PLACES = ("rollout/", "eval/", "train/", "time/", "env/", "curriculum/")
OF_OTHER_SETTINGS = {
    "rollout/success_rate", "eval/success_rate", "eval/level_*/mean_reward", "eval/level_*/mean_ep_length",
    "eval/level_*/success_rate", "train/clip_range_vf", "train/bad_updates", "train/param_resets", "env/restarts",
    "curriculum/level", "curriculum/timesteps", "curriculum/episodes", "curriculum/*", "curriculum/probability/*",
    "curriculum/success_rate/*", "curriculum/envs/*", "curriculum/ever_top", "curriculum/low/*", "curriculum/npd",
}  # fmt: skip


def columns(run: Path) -> set[str]:
    return set((run / "metrics.csv").read_text().splitlines()[0].split(",")) - {"step"}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_metric_of_a_run_is_listed(trained: Callable[..., Path], name: str) -> None:  # noqa: F811
    logged = columns(trained(name))
    assert len(logged) > 8
    assert {each for each in logged if not any(fnmatchcase(each, listed) for listed in NAMES)} == set()


def test_what_is_listed_is_logged(trained: Callable[..., Path]) -> None:  # noqa: F811
    logged = set().union(*(columns(trained(name)) for name in ALGORITHMS))
    assert all(name.startswith(PLACES) for name in NAMES)
    assert set(NAMES) - logged == OF_OTHER_SETTINGS
