"""Prioritised level replay, against numbers worked by hand."""

import pytest

from lit_rl.curriculum.strategies.build import build_strategy
from lit_rl.curriculum.strategies.replay import level_seeds
from lit_rl.data.episode import Episode
from lit_rl.data.task import Task
from lit_rl.errors import ConfigError

NAMES = ("a", "b", "c", "d")


def begun(names=NAMES, **options):
    strategy = build_strategy({"strategy": "replay", "seeds": None, **options}, "curriculum.sample")
    strategy.begin(names, 4, 7)
    return strategy


def scored(level, score, seed=None):
    return Episode(0, 1.0, 10, None, level, False, Task(level, seed=seed), score)


def after(*scores, **options):
    """Episodes on levels 0, 1, ... with these scores, one an iteration."""
    strategy = begun(**options)
    for level, score in enumerate(scores):
        strategy.record([scored(level, score)])
    return strategy


def test_nothing_seen_is_uniform():
    assert begun().probabilities().tolist() == [0.25] * 4
    assert begun(seeds=3).probabilities().tolist() == [1 / 12] * 12
    assert begun().metrics() == {"seen": 0.0, **{f"probability/{n}": 0.25 for n in NAMES}}


# All four seen with scores 1, 3, 2, 2: ranks 4, 1, 2, 3 (ties in their order); ages 3, 2, 1, 0.
SCORES = (1.0, 3.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # b = 1: 1/4, 1, 1/2, 1/3 over 25/12
        ({"temperature": 1.0, "staleness": 0.0}, [0.12, 0.48, 0.24, 0.16]),
        # b = 0.5: 1/16, 1, 1/4, 1/9 over 205/144
        ({"temperature": 0.5, "staleness": 0.0}, [9 / 205, 144 / 205, 36 / 205, 16 / 205]),
        # the defaults: b = 0.1: 4**-10, 1, 2**-10, 3**-10, and a tenth by ages 3, 2, 1, 0 over 6
        (
            {},
            [
                0.9 * 9.5274e-07 + 0.05,
                0.9 * 0.99900664 + 0.1 / 3,
                0.9 * 9.75593e-04 + 0.1 / 6,
                0.9 * 1.69182e-05,
            ],
        ),
        ({"staleness": 1.0}, [3 / 6, 2 / 6, 1 / 6, 0.0]),
        ({"temperature": 1.0, "staleness": 0.5}, [0.06 + 1.5 / 6, 0.24 + 1 / 6, 0.12 + 0.5 / 6, 0.08]),
        ({"temperature": 1.0, "staleness": 0.0, "prioritise": "proportional"}, [1 / 8, 3 / 8, 2 / 8, 2 / 8]),
        ({"temperature": 0.5, "staleness": 0.0, "prioritise": "proportional"}, [1 / 18, 9 / 18, 4 / 18, 4 / 18]),
    ],
)
def test_what_is_played_again(options, expected):
    strategy = after(*SCORES, **options)
    assert strategy.probabilities().tolist() == pytest.approx(expected, rel=1e-5)
    assert strategy.metrics()["score_mean"] == 2.0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.05000086, 0.93243921, 0.01668189, 0.00087803]),
        ({"temperature": 0.5, "staleness": 0.3}, [0.18073171, 0.59170731, 0.10463415, 0.12292683]),
        ({"temperature": 0.5, "prioritise": "proportional"}, [0.08, 0.51333338, 0.13666667, 0.27000001]),
    ],
)
def test_it_is_that_of_the_published_code(options, expected):
    """`TaskSampler.sample_weights` of Syllabus 0.7, which adds a little to every score, with the same settings."""
    assert after(1.0, 4.0, 2.0, 3.0, **options).probabilities().tolist() == pytest.approx(expected, abs=1e-7)


# Two of four seen, in equal parts: b large, no staleness.
FLAT = {"temperature": 1e9, "staleness": 0.0}


@pytest.mark.parametrize(
    ("options", "replayed"),
    [
        ({}, 0.5),  # the share that was seen
        ({"replay": 0.9}, 0.9),
        ({"replay": 0.0}, 0.0),
        ({"fill": 0.5}, 0.5),
        ({"fill": 0.75}, 0.0),
        ({"fill": 0.75, "replay": 0.9}, 0.0),
    ],
)
def test_the_share_of_new_entries(options, replayed):
    strategy = after(1.0, 1.0, **FLAT, **options)
    seen, new = replayed / 2, (1 - replayed) / 2
    assert strategy.probabilities().tolist() == pytest.approx([seen, seen, new, new])
    assert strategy.metrics()["seen"] == 0.5
    assert after(*SCORES, **FLAT, **options).probabilities().tolist() == pytest.approx([0.25] * 4), "none is new"


@pytest.mark.parametrize(("alpha", "score"), [(1.0, 4.0), (0.25, 2.5), (0.5, 3.0)])
def test_scores_are_averaged(alpha, score):
    strategy = begun(alpha=alpha)
    strategy.record([scored(0, 2.0), scored(0, 4.0)])  # the first as it is
    assert strategy.metrics()["score_mean"] == score


def test_scores_of_0_are_as_good_as_each_other():
    options = {"staleness": 0.0, "prioritise": "proportional"}
    assert after(0.0, 0.0, 0.0, 0.0, **options).probabilities().tolist() == [0.25] * 4


def test_seeds_tell_levels_apart():
    strategy = begun(("a", "b"), seeds=3, **FLAT)
    first, second, _ = level_seeds(7, 3)
    strategy.record([scored(0, 1.0, first), scored(1, 1.0, second), scored(1, 1.0, second)])
    strategy.record([scored(0, 1.0, 12345), scored(0, 1.0), Episode(0, 1.0, 1, None, 0, score=9.0)])  # of no entry
    assert strategy.metrics() == pytest.approx(
        {"probability/a": 1 / 6 + 4 / 6 / 2, "probability/b": 1 / 6 + 4 / 6 / 2, "seen": 2 / 6, "score_mean": 1.0}
    )
    assert strategy.choice().level(0, 0, 0.0) == (0, first)
    assert strategy.choice().level(0, 0, 0.9999) == (1, level_seeds(7, 3)[2])
    assert after(*SCORES).choice().seeds is None


def test_seeds_of_levels():
    assert level_seeds(7, 5) == level_seeds(7, 9)[:5], "more seeds leave the first as they are"
    assert level_seeds(7, 5) != level_seeds(8, 5)
    assert len(set(level_seeds(7, 500))) == 500
    assert all(0 <= seed < 2**31 for seed in level_seeds(7, 500))


def test_what_is_certain_not_to_be_drawn_is_left_out():
    assert after(*SCORES, staleness=1.0).choice().levels == (0, 1, 2)
    choice = after(1.0, 1.0, **FLAT, replay=0.0).choice()
    assert (choice.levels, choice.cumulative) == ((2, 3), (0.5, 1.0))


def test_the_choice_is_one_object_until_something_changes():
    strategy = after(*SCORES)
    first = strategy.choice()
    strategy.record([])
    strategy.record([scored(0, float("nan"))])  # counts for nothing
    strategy.metrics()
    assert strategy.choice() is first
    strategy.record([scored(0, 9.0)])
    assert strategy.choice() is not first


def test_an_algorithm_without_scores_is_refused():
    with pytest.raises(ConfigError, match="replay needs a score of every episode, and the algorithm gave none"):
        begun().record([Episode(0, 1.0, 1)])


def test_a_changed_list_of_levels_and_seeds_keeps_what_is_known():
    old = begun(("a", "b"), seeds=4)
    seeds = level_seeds(7, 4)
    old.record([scored(1, 5.0, seeds[3]), scored(1, 3.0, seeds[0]), scored(0, 1.0, seeds[0])])
    new = begun(("b", "c"), seeds=2)
    new.load_state_dict(old.state_dict())
    assert new.metrics()["seen"] == 0.25
    assert new.metrics()["score_mean"] == 3.0
    levels = begun(("a", "b"))
    levels.load_state_dict(old.state_dict())
    assert levels.metrics()["seen"] == 0.0
