"""Bounds that adapt, against numbers worked by hand."""

import json
import math
import pickle

import numpy as np
import pytest

from lit_rl.curriculum.bounds import AdaptiveBounds, Bounds
from lit_rl.data.episode import Episode
from lit_rl.data.task import Task
from lit_rl.errors import ConfigError

WIND = {"start": [0.0, 2.0], "limits": [-3.0, 5.0], "step": 2.0}
MASS = {"start": 1.0, "limits": [0.5, 4.0], "step": 0.25}


def adaptive(parameters=None, **options):
    return AdaptiveBounds(
        {"wind": WIND} if parameters is None else parameters, **{"widen": 0.8, "narrow": 0.2, "queue": 5, **options}
    )


def at(bounds, name, side, success, ret=0.0):
    """An episode that tested one bound, where that bound is now."""
    now = bounds.bounds()
    value = now.at(now.names.index(name), side)
    return Episode(0, ret, 10, success, 0, False, Task(0, ((name, value),), None, f"{name}.{side}"))


def push(bounds, side, successes, name="wind"):
    """Episodes at one bound, each in an iteration of its own; `1` a success. Gives both bounds."""
    for success in successes:
        bounds.record([at(bounds, name, side, success == "1")])
    now = bounds.bounds()
    return now.low[now.names.index(name)], now.high[now.names.index(name)]


@pytest.mark.parametrize(
    ("options", "side", "successes", "expected"),
    [
        ({}, "high", "1111", (0.0, 2.0)),  # the queue is not full
        ({}, "high", "11101", (0.0, 4.0)),  # 0.8 is enough
        ({}, "high", "11001", (0.0, 2.0)),  # 0.6 moves nothing, and the queue is emptied
        ({}, "high", "110011111", (0.0, 2.0)),
        ({}, "high", "1100111110", (0.0, 4.0)),
        ({}, "high", "1111111111", (0.0, 5.0)),  # not past the limit
        ({}, "high", "1111100000", (0.0, 2.0)),  # and back
        ({}, "high", "00000", (0.0, 2.0)),  # not narrower than at the start
        ({}, "low", "11111", (-2.0, 2.0)),
        ({}, "low", "1111111111", (-3.0, 2.0)),
        ({}, "low", "111111111110000", (-1.0, 2.0)),  # 0.2 is little enough
        ({"queue": 2}, "high", "11", (0.0, 4.0)),
        ({"widen": 0.9}, "high", "11101", (0.0, 2.0)),
        ({"narrow": 0.1, "queue": 4}, "low", "11110001", (-2.0, 2.0)),
        ({"narrow": 0.3, "queue": 4}, "low", "11110001", (0.0, 2.0)),
    ],
)
def test_a_bound_moves_by_its_queue(options, side, successes, expected):
    assert push(adaptive(**options), side, successes) == expected


def test_bounds_by_return():
    bounds = adaptive(metric="ep_rew_mean", widen=100.0, narrow=-100.0, queue=2)
    for ret, high in ((90.0, 2.0), (110.0, 4.0), (-100.0, 4.0), (-100.0, 2.0)):
        bounds.record([at(bounds, "wind", "high", None, ret)])
        assert bounds.bounds().high == (high,)


def test_other_episodes_count_for_nothing():
    bounds = adaptive(queue=1)
    before = bounds.bounds()
    old = at(bounds, "wind", "high", True)
    ignored = [
        Episode(0, 1.0, 10, True),
        Episode(0, 1.0, 10, True, task=Task(0, (("wind", 2.0),))),  # no test
        Episode(0, 1.0, 10, True, task=Task(0, (("mass", 2.0),), None, "mass.high")),  # of no parameter
        Episode(0, 1.0, 10, True, task=Task(0, (("wind", 1.0),), None, "wind.high")),  # of another bound
    ]
    bounds.record(ignored)
    assert bounds.bounds() is before
    bounds.record([old, old, old])  # after the first the bound has moved on
    assert bounds.bounds().high == (4.0,)
    bounds.record([old])
    assert bounds.bounds().high == (4.0,)


def test_every_bound_has_a_queue_of_its_own():
    bounds = adaptive({"wind": WIND, "mass": MASS}, queue=2)
    bounds.record([at(bounds, "wind", "high", True), at(bounds, "mass", "high", True), at(bounds, "wind", "low", True)])
    assert bounds.bounds().high == (2.0, 1.0)
    bounds.record([at(bounds, "mass", "high", True)])
    assert bounds.bounds() == Bounds(0.5, ("wind", "mass"), (0.0, 1.0), (2.0, 1.25))


def test_draws():
    now = Bounds(0.4, ("a", "b"), (0.0, 10.0), (1.0, 20.0))
    rng = np.random.default_rng(0)
    drawn = [now.draw(rng) for _ in range(4000)]
    pins = [pinned for _, pinned in drawn]
    assert pins.count(None) / 4000 == pytest.approx(0.6, abs=0.03)
    for pinned, name, value in (("a.low", "a", 0.0), ("a.high", "a", 1.0), ("b.low", "b", 10.0), ("b.high", "b", 20.0)):
        assert pins.count(pinned) / 4000 == pytest.approx(0.1, abs=0.02)
        assert {values[name] for values, pin in drawn if pin == pinned} == {value}
    others = [values["b"] for values, pin in drawn if pin is None or pin.startswith("a")]
    assert 10.0 <= min(others) < 10.1
    assert 19.9 < max(others) < 20.0
    assert np.mean(others) == pytest.approx(15.0, abs=0.3)
    assert all(pin is None for _, pin in (Bounds(0.0, ("a",), (0.0,), (1.0,)).draw(rng) for _ in range(50)))
    assert all(pin for _, pin in (Bounds(1.0, ("a",), (0.0,), (1.0,)).draw(rng) for _ in range(50)))


def test_a_draw_takes_as_many_numbers_whatever_comes_out():
    after = set()
    for boundary in (0.0, 1.0):
        rng = np.random.default_rng(3)
        Bounds(boundary, ("a", "b"), (0.0, 1.0), (1.0, 2.0)).draw(rng)
        after.add(rng.random())
    assert len(after) == 1


def test_a_start_at_a_point():
    bounds = adaptive({"mass": MASS})
    assert {values["mass"] for values, _ in (bounds.bounds().draw(np.random.default_rng(i)) for i in range(9))} == {1.0}
    assert push(bounds, "low", "11111", "mass") == (0.75, 1.0)
    assert push(bounds, "low", "1111111111", "mass") == (0.5, 1.0)


def test_metrics():
    bounds = adaptive({"wind": WIND, "mass": MASS})
    assert bounds.metrics() == {
        "low/wind": 0.0,
        "high/wind": 2.0,
        "low/mass": 1.0,
        "high/mass": 1.0,
        "npd": pytest.approx((math.log(2.0) + math.log(0.25)) / 2),  # a point counts as one step
    }
    push(bounds, "high", "11111")
    assert bounds.metrics()["npd"] == pytest.approx((math.log(4.0) + math.log(0.25)) / 2)


def play(bounds, iterations):
    """Episodes that follow from the bounds; what they were after each iteration."""
    seen = []
    for i in iterations:
        rng, outcomes = np.random.default_rng(i), []
        for env in range(4):
            values, pinned = bounds.bounds().draw(rng)
            success = bool(rng.random() < math.exp(-abs(values["wind"]) / 4 - abs(values["mass"] - 1.0)))
            outcomes.append(Episode(env, 1.0, 9, success, 0, False, Task(0, tuple(values.items()), None, pinned)))
        bounds.record(outcomes)
        seen.append((bounds.bounds(), bounds.metrics(), bounds.state_dict()))
    return seen


def test_a_state_is_all_there_is():
    parameters = {"wind": {**WIND, "step": 0.3}, "mass": MASS}
    options = {"queue": 3, "boundary": 0.8, "widen": 0.6, "narrow": 0.4}
    straight = play(adaptive(parameters, **options), range(30))
    assert len({bounds for bounds, _, _ in straight}) > 5
    for cut in range(30):
        first, then = adaptive(parameters, **options), adaptive(parameters, **options)
        play(first, range(cut))
        play(then, [77])  # loading leaves nothing of before
        then.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert play(then, range(cut, 30)) == straight[cut:]


def test_the_bounds_are_one_object_until_one_moves():
    bounds = adaptive()
    first = bounds.bounds()
    push(bounds, "high", "1111")
    bounds.metrics()
    assert bounds.bounds() is first
    push(bounds, "high", "1")
    assert bounds.bounds() is not first
    assert pickle.loads(pickle.dumps(first)) == first
    assert bounds.state_dict()["bounds"]["wind"]["high"] == {"at": 4.0, "queue": []}


def test_changed_parameters_and_limits():
    old = adaptive({"wind": WIND, "mass": MASS})
    push(old, "high", "111111")
    push(old, "low", "11", "mass")
    new = adaptive({"wind": {**WIND, "limits": [-3.0, 3.0]}, "gravity": {"start": 9.8, "limits": [5, 15], "step": 1}})
    new.load_state_dict(old.state_dict())
    assert new.bounds() == Bounds(0.5, ("wind", "gravity"), (0.0, 9.8), (3.0, 9.8))
    assert push(new, "high", "0000") == (0.0, 3.0), "a bound that had to move begins to count anew"
    new = adaptive({"mass": MASS, "wind": WIND})
    new.load_state_dict(old.state_dict())
    assert push(new, "low", "111", "mass") == (0.75, 1.0), "the queue went on"


def test_an_environment_without_success_is_refused():
    bounds = adaptive()
    with pytest.raises(ConfigError, match=r"bounds by success_rate needs info\['is_success'\]"):
        bounds.record([at(bounds, "wind", "low", None)])


@pytest.mark.parametrize(
    ("wind", "options", "message"),
    [
        (WIND, {"narrow": 0.8}, "k.narrow: 0.8 must be less than widen, 0.8"),
        (WIND, {"widen": "high"}, "k.widen: expected a number, got 'high'"),
        (WIND, {"boundary": 1.5}, "k.boundary is 1.5; it must be from 0 to 1"),
        (WIND, {"queue": 0}, "k.queue: must be a whole number of at least 1"),
        (WIND, {"metric": "sucess_rate"}, "k.metric: 'sucess_rate' is not one of .* Did you mean 'success_rate'?"),
        ({**WIND, "start": 9.0}, {}, "k: wind.start: 9.0 lies outside the limits [-3.0, 5.0]"),
        ({**WIND, "start": [-9.0, 0.0]}, {}, "k: wind.start: .* lies outside the limits"),
        ({**WIND, "start": [1.0, 0.0]}, {}, "k: wind.start: the first must not be more than the second"),
        ({**WIND, "start": [1.0]}, {}, "k: wind.start: must be two numbers"),
        ({**WIND, "start": "x"}, {}, "k: wind.start[0]: expected a number"),
        ({**WIND, "limits": [5.0, -3.0]}, {}, "k: wind.limits: the first must be less than the second"),
        ({**WIND, "limits": 5.0}, {}, "k: wind.limits: expected a list"),
        ({**WIND, "step": 0}, {}, "k: wind.step is 0; it must be above 0"),
        ({**WIND, "stp": 1.0}, {}, "k: wind: unknown key 'stp'. Did you mean 'step'?"),
        ({"start": 1.0, "step": 1.0}, {}, "k: wind.limits: missing; give start, limits and step"),
        (3.0, {}, "k: wind: must be {start, limits, step}, is 3.0"),
    ],
)
def test_mistakes_name_the_key(wind, options, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?").replace("[", r"\[").replace("{", r"\{")) as error:
        adaptive({"wind": wind}, **options, key="k")
    assert "\n" not in str(error.value)


def test_without_parameters_there_is_nothing_to_adapt():
    with pytest.raises(ConfigError, match=r"curriculum\.bounds: must name at least one parameter"):
        AdaptiveBounds({}, widen=1.0, narrow=0.0)
