"""Types, ranges and choices of settings, each mistake in one line."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from lit_rl.errors import ConfigError
from lit_rl.ops.limits import Limit, above, at_least, between, check_names, check_record, check_value, known_only

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("limit", "inside", "outside"),
    [
        (at_least(1), (1, 2, 1e9), (0, -1, NAN, INF)),
        (above(0), (1e-300, 5), (0, -1, NAN, INF)),
        (above(0, infinite=True), (1, INF), (0, -INF, NAN)),
        (between(0, 1), (0, 0.5, 1), (-0.1, 1.1, NAN)),
        (at_least(1, besides=(-1,)), (-1, 1), (0, -2)),
        (Limit(0, 1, without_low=True), (0.1, 1), (0, 1.1)),
        (Limit(), (-1e300, 0, 7), (NAN, INF, -INF)),
    ],
    ids=str,
)
def test_a_range_holds_what_lies_in_it(limit: Limit, inside: tuple[float, ...], outside: tuple[float, ...]) -> None:
    assert all(limit.holds(value) for value in inside)
    assert not any(limit.holds(value) for value in outside)


@pytest.mark.parametrize(
    ("value", "hint", "text"),
    [
        ("3", int, "k: expected a whole number, got '3'. Write it without quotes."),
        (True, int, "k: expected a whole number, got true."),
        (1e4, int, "k: expected a whole number, got 10000.0. Write 10000."),
        (2.5, int | None, "k: expected a whole number, or null, got 2.5."),
        ("yes", bool, "k: expected true or false, got 'yes'."),
        (1, bool, "k: expected true or false, got 1."),
        (3, str, "k: expected text, got 3. Put it in quotes."),
        (None, float, "k: expected a number, got null."),
        ([1, "a"], list[int], "k[1]: expected a whole number, got 'a'."),
        ("abc", list[str], "k: expected a list, got 'abc'."),
        ([], dict, "k: expected keys and values, got []."),
        ("fastt", Literal["fast", "slow"], "k: 'fastt' is not one of fast, slow. Did you mean 'fast'?"),
        (True, int | Literal["carry"], "k: expected a whole number or carry, got true."),
        (NAN, float, "k is nan; it must be a finite number."),
        (10**30, int, "k is 1000000000000000000000000000000; it must be below 9,007,199,254,740,992."),
        ("x" * 100, int, f"k: expected a whole number, got '{'x' * 59}...."),
    ],
)
def test_a_value_of_another_kind_is_named(value: Any, hint: Any, text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_value(value, hint, "k")
    assert str(raised.value) == text


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (3, float),
        (np.int64(3), int),
        (np.float32(0.5), float),
        (np.bool_(True), bool),
        (None, int | None),
        ((1,), list),
    ],
)
def test_what_means_the_same_is_taken(value: Any, hint: Any) -> None:
    check_value(value, hint, "k")


@dataclass
class Record:
    LIMITS: ClassVar = {"count": at_least(1), "share": between(0, 1)}

    count: int = 1
    share: float | None = 0.5
    kind: Literal["a", "b"] = "a"
    more: dict = field(default_factory=dict)  # type: ignore[type-arg]

    def __post_init__(self) -> None:
        check_record(self, "block")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"count": 0}, "block.count is 0; it must be at least 1."),
        ({"share": 1.5}, "block.share is 1.5; it must be from 0 to 1, or null."),
        ({"kind": "c"}, "block.kind: 'c' is not one of a, b."),
        ({"more": 3}, "block.more: expected keys and values, got 3."),
    ],
)
def test_a_record_checks_its_fields(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Record(**values)
    assert str(raised.value) == text


def test_keys_that_are_none() -> None:
    with pytest.raises(ConfigError, match=r"block: unknown key 'cuont'\. Did you mean 'count'\?"):
        known_only({"cuont": 1}, Record, "block")
    with pytest.raises(ConfigError, match=r"block: expected keys and values, got 3\."):
        known_only(3, Record, "block")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"env\.kwargs: key 1 is no name of an argument"):
        check_names({1: 2}, "env.kwargs")
