"""The formula of every sampler, against numbers worked by hand or by the published code."""

import math

import pytest

from lit_rl.curriculum import Sampler
from lit_rl.curriculum.strategies.build import build_strategy
from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError

NAMES = ("near", "middle", "far")


def begun(spec, names=NAMES):
    strategy = build_strategy(spec, "curriculum.sample")
    strategy.begin(names, 4, 7)
    return strategy


def episodes(level, successes):
    """Episodes on a level, `1` a success of return 5, `0` a failure of return 1."""
    return [Episode(0, 5.0 if s == "1" else 1.0, 10, s == "1", level) for s in successes]


def probabilities(strategy):
    """As they are drawn: widths of the choice's intervals."""
    choice = strategy.choice()
    widths = [high - low for low, high in zip((0.0, *choice.cumulative), choice.cumulative, strict=False)]
    by_level = dict(zip(choice.levels, widths, strict=True))
    return [by_level.get(i, 0.0) for i in range(len(strategy.names))]


def after(spec, *records, names=NAMES):
    strategy = begun(spec, names)
    for record in records:
        strategy.record(record)
    return strategy


def test_uniform():
    strategy = after("uniform", episodes(2, "1101"), [Episode(0, 0.0, 5, None, 1)])
    assert probabilities(strategy) == pytest.approx([1 / 3] * 3)
    assert strategy.metrics() == pytest.approx(
        {
            "probability/near": 1 / 3,
            "probability/middle": 1 / 3,
            "probability/far": 1 / 3,
            "success_rate/far": 0.75,
            "episodes/near": 0.0,
            "episodes/middle": 1.0,
            "episodes/far": 4.0,
        }
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"weights": [1, 1, 2]}, [0.25, 0.25, 0.5]),
        ({"weights": {"far": 3, "near": 1, "middle": 0}}, [0.25, 0.0, 0.75]),
        ({"weights": [0, 0, 5], "uniform": 0.3}, [0.1, 0.1, 0.8]),
    ],
)
def test_weights(options, expected):
    strategy = after({"strategy": "weights", **options}, episodes(0, "1"))
    assert probabilities(strategy) == pytest.approx(expected)


# near 9 of 10, middle 5 of 10, far without an episode, which counts as 0.5: weights 0.09, 0.25, 0.25.
PLAYED = (episodes(0, "1111011111"), episodes(1, "0101010101"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"uniform": 0.0}, [9 / 59, 25 / 59, 25 / 59]),
        ({}, [0.5 * 9 / 59 + 1 / 6, 0.5 * 25 / 59 + 1 / 6, 0.5 * 25 / 59 + 1 / 6]),  # half uniform
        ({"uniform": 1.0}, [1 / 3] * 3),
        ({"uniform": 0.0, "window": 5}, [0.0, 24 / 49, 25 / 49]),  # 5 of 5 and 3 of 5: 0, 0.24, 0.25
        ({"uniform": 0.0, "success_at": 0.5}, [0.0, 0.0, 1.0]),  # every episode is a success
        ({"uniform": 0.0, "success_at": 5.0}, [9 / 59, 25 / 59, 25 / 59]),
    ],
)
def test_learnability(options, expected):
    assert probabilities(after({"strategy": "learnability", **options}, *PLAYED)) == pytest.approx(expected)


def test_all_solved_is_uniform():
    solved = [episodes(level, "11") for level in range(3)]
    assert probabilities(after({"strategy": "learnability", "uniform": 0.0}, *solved)) == pytest.approx([1 / 3] * 3)


def test_progress_of_one_level_by_hand():
    """0.0, then 1.0, with alpha 0.5 and theta 0.1: fast 0.5, slow 0.25.

    f(0.5) = 0.45 / 0.5 = 0.9 and f(0.25) = 0.225 / (0.25 + 0.05) = 0.75.
    """
    strategy = after({"strategy": "progress", "alpha": 0.5}, episodes(0, "0"), episodes(0, "1"))
    assert strategy.progress() == pytest.approx([0.15, 0.0, 0.0])
    strategy.record(episodes(0, "0"))  # fast 0.25, slow 0.25: nothing changes
    assert strategy.progress() == pytest.approx([0.0, 0.0, 0.0])
    strategy.record(episodes(0, "00"))  # fast 0.125, slow 0.1875: f 0.5625 and 0.675
    assert strategy.progress() == pytest.approx([0.1125, 0.0, 0.0])


# Three levels, three iterations of five episodes each; the mean successes are
#   near 1.0, 1.0, 1.0; middle 0.2, 0.4, 0.8; far 0.0, 0.0, 0.2.
HISTORY = [
    [*episodes(0, "11111"), *episodes(1, "00001"), *episodes(2, "00000")],
    [*episodes(0, "11111"), *episodes(1, "01001"), *episodes(2, "00000")],
    [*episodes(0, "11111"), *episodes(1, "11011"), *episodes(2, "00100")],
]


# What `OnlineLearningProgress` of Syllabus 0.7 gives for these success rates.
PUBLISHED = {
    "uniform 0": [0.14940399982270935, 0.3379700825579136, 0.512625917619377],
    "defaults": [0.19538633320036536, 0.3368108952517685, 0.4678027715478661],
    "alpha 0.3": [0.20520474349331352, 0.3161805435508724, 0.47861471295581404],
    "theta 0.4": [0.21338829533663584, 0.48474127662115357, 0.30187042804221065],
    "random 0.2": [0.2524081676845131, 0.49518366463097374, 0.2524081676845131],
    "random list": [0.17891115483916145, 0.4077746986918434, 0.4133141464689953],
}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"uniform": 0.0}, PUBLISHED["uniform 0"]),
        ({}, PUBLISHED["defaults"]),
        ({"alpha": 0.3}, PUBLISHED["alpha 0.3"]),
        ({"theta": 0.4}, PUBLISHED["theta 0.4"]),
        ({"random": 0.2}, PUBLISHED["random 0.2"]),
        ({"random": [0.5, 0.1, 0.0]}, PUBLISHED["random list"]),
        ({"random": {"far": 0.0, "middle": 0.1, "near": 0.5}}, PUBLISHED["random list"]),
    ],
)
def test_progress_is_that_of_the_published_code(options, expected):
    assert probabilities(after({"strategy": "progress", **options}, *HISTORY)) == pytest.approx(expected, abs=1e-12)


def test_progress_goes_by_return_where_it_is_told_to():
    spec = {"strategy": "progress", "success_at": 3.0}
    silent = [[Episode(e.env_index, e.ret, 1, None, e.level) for e in record] for record in HISTORY]
    assert probabilities(after(spec, *silent)) == pytest.approx(PUBLISHED["defaults"], abs=1e-12)


def test_progress_leaves_out_levels_without_progress_or_success():
    strategy = after({"strategy": "progress", "uniform": 0.0}, episodes(0, "1"), episodes(1, "0"))
    assert probabilities(strategy) == [1.0, 0.0, 0.0]
    assert probabilities(after({"strategy": "progress"}, episodes(0, "0"))) == pytest.approx([1 / 3] * 3)


def test_progress_window_is_that_of_the_logged_rate_alone():
    narrow, wide = (after({"strategy": "progress", "window": n}, *HISTORY) for n in (5, 50))
    assert probabilities(narrow) == probabilities(wide)
    assert narrow.metrics()["success_rate/middle"] == pytest.approx(0.8)
    assert wide.metrics()["success_rate/middle"] == pytest.approx(7 / 15)
    assert wide.metrics()["progress/near"] == 0.0


class Hardest(Sampler):
    """A user's own: `weights` alone."""

    def weights(self):
        rates = [self.rate(i) for i in range(len(self.names))]
        return [1.0 if rate is None else 1.0 - rate for rate in rates]


class Wrong(Sampler):
    def weights(self):
        return [-1.0] * self.window


def own(name, **init_args):
    return {"class_path": f"{__name__}.{name}", "init_args": init_args}


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, [0.1, 0.5, 1.0]), ({"window": 2}, [0.0, 0.5, 1.0]), ({"uniform": 1.0}, [1.0] * 3)],
)
def test_a_sampler_of_ones_own_writes_weights_alone(options, expected):
    total = sum(expected)
    strategy = after(own("Hardest", **options), *PLAYED)
    assert probabilities(strategy) == pytest.approx([each / total for each in expected])


def test_wrong_weights_are_said():
    with pytest.raises(ConfigError, match=r"curriculum\.sample: the weights of Wrong are 2 and the levels 3; give one"):
        begun(own("Wrong", window=2)).choice()
    with pytest.raises(
        ConfigError, match=r"the weights of Wrong have -1\.0 for 'near'; a weight is a finite number of"
    ):
        begun(own("Wrong", window=3)).choice()


def test_an_environment_without_success_is_refused_where_it_is_needed():
    silent = [Episode(3, 1.0, 1, None, 0)]
    for spec, name in (("learnability", "learnability"), ("progress", "progress"), (own("Hardest"), "Hardest")):
        with pytest.raises(ConfigError, match=rf"sample: {name} needs info\['is_success'\] .* environment 3 gave none"):
            after(spec, silent)
    after({"strategy": "learnability", "success_at": 0.0}, silent)
    assert after({"strategy": "weights", "weights": [1, 1, 1]}, silent).metrics()["episodes/near"] == 1.0


@pytest.mark.parametrize("spec", ["learnability", "progress", "uniform"])
def test_the_choice_is_one_object_until_something_changes(spec):
    strategy = begun(spec)
    first = strategy.choice()
    assert strategy.choice() is first
    strategy.record([])
    strategy.metrics()
    assert strategy.choice() is first
    strategy.record([*episodes(0, "1"), *episodes(1, "0")])
    strategy.metrics()
    assert (strategy.choice() is first) == (spec == "uniform")


def test_levels_are_drawn_as_often_as_they_should():
    choice = after({"strategy": "weights", "weights": [1, 0, 3]}).choice()
    drawn = [choice.level(0, 0, i / 1000)[0] for i in range(1000)]
    assert [drawn.count(level) for level in range(3)] == [250, 0, 750]
    assert math.isclose(choice.cumulative[-1], 1.0)


def test_a_changed_list_of_levels_keeps_what_is_known_by_name():
    for spec in ("learnability", "progress"):
        old = after({"strategy": spec, "uniform": 0.0}, *HISTORY)
        new = begun({"strategy": spec, "uniform": 0.0}, ("new", "far", "middle"))
        new.load_state_dict(old.state_dict())
        assert [new.metrics()[f"episodes/{n}"] for n in new.names] == [0.0, 15.0, 15.0]
        assert [new.rate(i) for i in (1, 2)] == [old.rate(2), old.rate(1)]
    assert new.progress() == [0.0, old.progress()[2], old.progress()[1]]


def test_a_narrower_window_keeps_the_newest():
    old = after("learnability", episodes(0, "0001"))
    new = begun({"strategy": "learnability", "window": 2})
    new.load_state_dict(old.state_dict())
    assert new.rate(0) == 0.5
