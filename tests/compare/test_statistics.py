"""The interquartile mean and its interval, against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lit_rl.compare.chart import thinned, ticks
from lit_rl.compare.statistics import interval, iqm


@pytest.mark.parametrize(
    ("scores", "mean"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 100], 3.5),
        ([1, 2, 9], 4.0),
        ([100, 1, 2, 3], 2.5),
        ([7], 7.0),
        ([5, 1, 2, 3, 90], 10 / 3),
    ],
)
def test_the_middle_half(scores: list[float], mean: float) -> None:
    assert iqm(np.array(scores, dtype=float)) == pytest.approx(mean)


def test_each_column_by_itself() -> None:
    assert iqm(np.array([[0.0, 9.0], [1.0, 1.0], [2.0, 2.0], [90.0, 3.0]])).tolist() == [1.5, 2.5]


def test_the_interval_holds_the_mean_and_repeats() -> None:
    scores = np.arange(10.0)
    found = interval(scores)
    assert 0 < found.low < found.iqm == 4.5 < found.high < 9
    assert interval(scores).low == found.low
    alike = interval(np.full(5, 3.0))
    assert alike.low == alike.iqm == alike.high == 3.0


def test_two_runs_give_all_that_can_be_drawn() -> None:
    found = interval(np.array([0.0, 1.0]))
    assert (found.low, found.iqm, found.high) == (0.0, 0.5, 1.0)


def test_ticks_are_round_numbers() -> None:
    assert ticks(-3.0, 104.0) == [0, 50, 100]
    assert ticks(1.0, 1.0) == []
    assert ticks(0.0, float("inf")) == []


def test_what_is_left_out_is_never_the_highest_or_the_lowest() -> None:
    y = np.sin(np.arange(10_000) / 50)
    y[4321], y[8765] = 5.0, -5.0
    kept = thinned(y, 300)
    assert len(kept) <= 302
    assert {0, 4321, 8765, 9999} <= set(kept.tolist())
