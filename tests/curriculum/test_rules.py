"""Each rule and each of its options changes when a level is left."""

import json

import pytest

from lit_rl.curriculum.rules import EvaluationRule, ThresholdRule, TimestepsRule, build_rule
from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError

# Twenty episodes: ten failures of return 0 and length 30, then ten successes of return 5 and length 10.
STREAM = [Episode(0, 0.0, 30, False)] * 10 + [Episode(0, 5.0, 10, True)] * 10


def first_due(rule, stream=STREAM):
    """Number of episodes after which the rule is due first, with one check an episode; None if never."""
    rule.reset()
    for i, outcome in enumerate(stream):
        rule.record(outcome)
        if rule.due(timesteps_at_level=0):
            return i + 1
    return None


def rule(**options):
    return build_rule({"metric": "success_rate", "threshold": 0.5, "window": 4, **options}, "rule")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 12),  # two of the last four
        ({"threshold": 1.0}, 14),  # four of the last four
        ({"threshold": 0.0}, 4),  # as soon as the window is full
        ({"window": 10}, 15),  # five of the last ten
        ({"window": 1}, 11),
        ({"min_episodes": 17}, 17),
        ({"threshold": 0.0, "min_episodes": 1}, 1),  # before the window is full
        ({"patience": 3}, 14),  # met at 12, 13 and 14
        ({"threshold": None, "below": 0.5}, 4),
        ({"metric": "ep_rew_mean"}, 11),  # 5 / 4
        ({"metric": "ep_rew_mean", "threshold": 4.0}, 14),
        ({"metric": "ep_len_mean", "threshold": 30.0}, 4),
        ({"metric": "ep_len_mean", "threshold": None, "below": 20.0}, 13),  # strictly: 20 at 12 is not below
    ],
)
def test_threshold_rule(options, expected):
    assert first_due(rule(**options)) == expected


def test_defaults_are_a_full_window_of_100_and_no_patience():
    successes = STREAM[-1:] * 200
    assert first_due(build_rule({"metric": "success_rate", "threshold": 0.5}, "rule"), successes) == 100


def test_patience_asks_for_checks_in_a_row():
    good, bad = STREAM[-1], STREAM[0]
    assert first_due(rule(window=1, patience=2), [good, bad, good, bad, good, good]) == 6


def test_a_check_without_new_episodes_counts_for_patience():
    r = rule(window=1, patience=3)
    r.record(STREAM[-1])
    assert [r.due(0) for _ in range(3)] == [False, False, True]


def test_reset_forgets():
    r = rule(window=1)
    r.record(STREAM[-1])
    assert r.due(0)
    r.reset()
    assert not r.due(0)
    assert r.progress() == {"met_in_a_row": 0.0}


def test_progress_shows_the_mean_and_the_checks():
    r = rule(window=4, patience=9)
    for outcome in STREAM[8:11]:
        r.record(outcome)
    assert r.progress() == {"success_rate": pytest.approx(1 / 3), "met_in_a_row": 0.0}
    r.record(STREAM[-1])
    r.due(0)
    assert r.progress() == {"success_rate": 0.5, "met_in_a_row": 1.0}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"threshold": 50.0}, [False, True, True, False]),
        ({"threshold": 100.0}, [False, False, True, False]),
        ({"below": 50.0}, [True, False, False, True]),
        ({"threshold": 50.0, "patience": 2}, [False, False, True, False]),
        ({"metric": "eval/success_rate", "threshold": 0.5}, [False, False, False, True]),
    ],
)
def test_evaluation_rule(options, expected):
    r = build_rule({"metric": "eval/mean_reward", **options}, "rule")
    due = []
    for reward, success in ((0.0, 0.0), (50.0, 0.2), (100.0, 0.4), (49.0, 0.5)):
        r.record_evaluation({"eval/mean_reward": reward, "eval/success_rate": success})
        due.append(r.due(0))
        assert r.due(0) == due[-1], "a check is one evaluation, however often it is asked about"
    assert due == expected


def test_timesteps_rule():
    r = build_rule({"metric": "timesteps", "threshold": 1e3}, "rule")
    assert [r.due(n) for n in (999, 1000, 1001)] == [False, True, True]
    assert not build_rule({"metric": "timesteps", "threshold": 1002}, "rule").due(1001)


@pytest.mark.parametrize(
    "spec",
    [
        {"metric": "success_rate", "threshold": 0.5, "window": 3, "patience": 4},
        {"metric": "eval/mean_reward", "threshold": 0.5, "patience": 4},
        {"metric": "timesteps", "threshold": 5},
    ],
)
def test_state_goes_through_json_and_continues_equally(spec):
    r, other = build_rule(spec, "rule"), build_rule(spec, "rule")

    def feed(to, i):
        to.record(STREAM[(7 * i) % 20])
        to.record_evaluation({"eval/mean_reward": float(i % 5)})
        return to.due(i)

    r.reset()
    for i in range(9):
        feed(r, i)
    other.load_state_dict(json.loads(json.dumps(r.state_dict())))
    assert [feed(r, i) for i in range(9, 40)] == [feed(other, i) for i in range(9, 40)]


def test_the_short_form_chooses_the_rule():
    assert isinstance(rule(), ThresholdRule)
    assert isinstance(build_rule({"metric": "eval/mean_reward", "threshold": 1}, "k"), EvaluationRule)
    assert isinstance(build_rule({"metric": "timesteps", "threshold": 1}, "k"), TimestepsRule)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("success_rate", "p: must be a mapping, is 'success_rate'"),
        ({"threshold": 1.0}, "p.metric: missing; give one of ep_rew_mean, success_rate,"),
        ({"metrik": "success_rate"}, "p.metric: missing; .* Did you mean 'metric'?"),
        ({"metric": "sucess_rate"}, "p.metric: unknown 'sucess_rate'; .* Did you mean 'success_rate'?"),
        ({"metric": ["a"]}, "p.metric: unknown"),
        ({"metric": "success_rate"}, "p.threshold: missing; give `threshold` .* or `below`"),
        ({"metric": "success_rate", "threshold": 1, "below": 1}, "p.below: given together with `threshold`"),
        ({"metric": "success_rate", "threshold": "high"}, "p.threshold: must be a finite number, is 'high'"),
        ({"metric": "success_rate", "below": float("nan")}, "p.below: must be a finite number, is nan"),
        ({"metric": "success_rate", "threshold": 1, "windw": 5}, "p.windw: not .* Did you mean 'window'?"),
        ({"metric": "success_rate", "threshold": 1, "window": 0}, "p.window: must be a whole number of at"),
        ({"metric": "success_rate", "threshold": 1, "window": 1.5}, "p.window: .* is 1.5"),
        ({"metric": "success_rate", "threshold": 1, "min_episodes": -1}, "p.min_episodes: must be a whole"),
        ({"metric": "success_rate", "threshold": 1, "patience": True}, "p.patience: must be a whole number"),
        (
            {"metric": "eval/mean_reward", "threshold": 1, "window": 5},
            "p.window: not an option of a rule on eval",
        ),
        (
            {"metric": "timesteps", "threshold": 5, "patience": 2},
            "p.patience: not an option .* are threshold",
        ),
        ({"metric": "timesteps"}, "p.threshold: missing; it is a required option of a rule on timesteps"),
        ({"metric": "timesteps", "threshold": 0}, "p.threshold: must be a whole number"),
    ],
)
def test_mistakes_name_the_key(spec, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")) as error:
        build_rule(spec, "p")
    assert "\n" not in str(error.value)


def test_an_environment_without_success_is_refused_by_success_rate():
    with pytest.raises(ConfigError, match=r"needs info\['is_success'\].* environment 3 gave none"):
        rule().record(Episode(3, 1.0, 1))
    rule(metric="ep_rew_mean").record(Episode(3, 1.0, 1))


def test_an_evaluation_without_the_metric_is_refused():
    with pytest.raises(ConfigError, match="waits for eval/success_rate, and the evaluation gave only eval/mean_rew"):
        build_rule({"metric": "eval/success_rate", "threshold": 1}, "p").record_evaluation({"eval/mean_reward": 1.0})
