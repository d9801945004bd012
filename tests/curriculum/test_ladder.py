"""Every environment on a level of its own."""

import pytest

from lit_rl.curriculum.choice import PerEnv
from lit_rl.curriculum.strategies.build import build_strategy
from lit_rl.data.episode import Episode
from lit_rl.ops.streams import generator
from tests.curriculum.test_own_rule import own

NAMES = ("a", "b", "c", "d")


def begun(n_envs=2, run_seed=7, names=NAMES, **options):
    ladder = build_strategy({"strategy": "ladder", **options}, "curriculum.schedule")
    ladder.begin(names, n_envs, run_seed)
    return ladder


def levels(ladder):
    assert isinstance(ladder.choice(), PerEnv)
    return [ladder.choice().level(env, 0, 0.0)[0] for env in range(ladder.n_envs)]


def play(ladder, env, successes):
    """Episodes of one environment, each in an iteration of its own; gives its levels after each."""
    seen = []
    for success in successes:
        ladder.record([Episode(env, 5.0 if success == "1" else 1.0, 10, success == "1", levels(ladder)[env])])
        seen.append(levels(ladder)[env])
    return seen


@pytest.mark.parametrize(
    ("options", "successes", "expected"),
    [
        ({}, "111", [1, 2, 3]),
        ({}, "1100", [1, 2, 2, 2]),  # one failure, or two, move nothing
        ({}, "11000", [1, 2, 2, 2, 1]),  # a streak of three does
        ({}, "11000000", [1, 2, 2, 2, 1, 1, 1, 0]),  # and a level begins to count anew
        ({}, "110010001", [1, 2, 2, 2, 3, 3, 3, 2, 3]),
        ({}, "000000", [0] * 6),  # the first stays the first
        ({}, "00001", [0, 0, 0, 0, 1]),
        ({"down": None}, "1100000", [1, 2, 2, 2, 2, 2, 2]),
        ({"down": {"metric": "success_rate", "below": 0.5, "window": 1}}, "1100", [1, 2, 1, 0]),
        ({"up": {"metric": "success_rate", "threshold": 1.0, "window": 2}}, "111", [0, 1, 1]),
        ({"up": {"metric": "ep_rew_mean", "threshold": 1.0, "window": 1}}, "00", [1, 2]),
        # both are due: up wins
        ({"up": {"metric": "ep_len_mean", "threshold": 1, "window": 3}}, "000", [0, 0, 1]),
        ({"up": own(n=2)}, "1011", [0, 0, 0, 1]),
        # at the first level, failures leave the window of `up` as it is
        ({"up": {"metric": "success_rate", "threshold": 0.1, "window": 5}}, "00010", [0, 0, 0, 0, 1]),
    ],
)
def test_up_and_down(options, successes, expected):
    ladder = begun(**options)
    assert play(ladder, 1, successes) == expected
    assert levels(ladder)[0] == 0, "environments move alone"


def test_above_the_top_comes_a_random_level():
    ladder = begun(n_envs=3)
    drawn = []
    for env in (0, 2):
        for _ in range(4):
            while levels(ladder)[env] < 3:
                play(ladder, env, "1")
            drawn.append(play(ladder, env, "1")[0])
    expected = [int(generator(7, "ladder", env, times).integers(4)) for env in (0, 2) for times in range(4)]
    assert drawn == expected
    assert len(set(drawn)) > 2
    metrics = ladder.metrics()
    assert metrics["ever_top"] == pytest.approx(2 / 3)
    at = levels(ladder)
    assert metrics["level_mean"] == pytest.approx(sum(at) / 3)
    assert {name: metrics[f"envs/{name}"] for name in NAMES} == {n: at.count(i) / 3 for i, n in enumerate(NAMES)}


def test_a_run_of_one_level_stays_on_it():
    ladder = begun(names=("a",))
    assert play(ladder, 0, "1010") == [0] * 4
    assert ladder.metrics() == {"envs/a": 1.0, "ever_top": 0.5, "level_mean": 0.0}


def test_episodes_of_another_level_are_ignored():
    ladder = begun()
    success = Episode(0, 5.0, 10, True, 0)
    ladder.record([success, success, success])  # the first moves it; the others were begun on the old level
    assert levels(ladder) == [1, 0]
    ladder.record([success])
    assert levels(ladder) == [1, 0]


@pytest.mark.parametrize(("start", "expected"), [([0, 0], {0}), ([2, 2], {2}), ([1, 3], {1, 2, 3}), ([0, 1], {0, 1})])
def test_start(start, expected):
    assert set(levels(begun(n_envs=40, start=start))) == expected


def test_a_start_depends_on_seed_and_environment_alone():
    few, many = (levels(begun(n_envs=n, start=[0, 3])) for n in (5, 40))
    assert few == many[:5]
    assert levels(begun(n_envs=40, run_seed=8, start=[0, 3])) != many


def test_a_warmstart_begins_on_a_level_it_names():
    ladder = begun(start=[0, 3])
    play(ladder, 0, "1")
    ladder.start_at(2)
    assert levels(ladder) == [2, 2]
    assert play(ladder, 0, "000") == [2, 2, 1]


def test_the_choice_is_one_object_until_an_environment_moves():
    ladder = begun()
    play(ladder, 0, "1")
    first = ladder.choice()
    play(ladder, 0, "00")
    ladder.metrics()
    assert ladder.choice() is first
    play(ladder, 0, "0")
    assert ladder.choice() is not first


@pytest.mark.parametrize("n_envs", [1, 3])
def test_another_number_of_environments_keeps_those_that_are_there(n_envs):
    old = begun(n_envs=2)
    play(old, 0, "1100")
    play(old, 1, "1")
    new = begun(n_envs=n_envs)
    new.load_state_dict(old.state_dict())
    assert levels(new) == [2, 1, 0][:n_envs]
    assert play(new, 0, "0") == [1], "its streak goes on"


def test_a_level_that_is_gone_and_a_rule_that_changed_begin_anew():
    old = begun()
    play(old, 0, "1100")
    play(old, 1, "1")
    new = begun(names=("c", "x", "a"), start=[1, 1], down={"metric": "success_rate", "below": 0.4, "window": 3})
    new.load_state_dict(old.state_dict())
    assert levels(new) == [0, 1]
    new = begun(names=("x", "c", "d"), down={"metric": "success_rate", "below": 0.4, "window": 3})
    new.load_state_dict(old.state_dict())
    assert play(new, 0, "000") == [1, 1, 0]
