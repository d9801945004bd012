"""Rules combined by `all` and `any`."""

import json

import pytest

from lit_rl.curriculum import Curriculum
from lit_rl.curriculum.rules import build_rule, parts_of_rule
from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError
from lit_rl.training.settings import refuse_foreign_classes
from tests.curriculum.test_own_rule import own

GOOD, BAD = Episode(0, 5.0, 10, True), Episode(0, 0.0, 30, False)
SUCCESS = {"metric": "success_rate", "threshold": 0.9, "window": 1}
LONG = {"metric": "ep_len_mean", "threshold": 20, "window": 1}
TIME = {"metric": "timesteps", "threshold": 100}
EVAL = {"metric": "eval/mean_reward", "threshold": 10, "patience": 2}


def built(spec):
    rule = build_rule(spec, "p")
    rule.reset()
    return rule


def due(spec, outcome, timesteps=0):
    rule = built(spec)
    rule.record(outcome)
    return rule.due(timesteps)


@pytest.mark.parametrize(
    ("spec", "after_good", "after_bad", "late_good"),
    [
        ({"all": [SUCCESS]}, True, False, True),
        ({"all": [SUCCESS, TIME]}, False, False, True),
        ({"any": [SUCCESS, TIME]}, True, False, True),
        ({"any": [SUCCESS, LONG]}, True, True, True),
        ({"all": [SUCCESS, LONG]}, False, False, False),
        ({"all": [{"any": [SUCCESS, LONG]}, TIME]}, False, False, True),
        ({"any": [{"all": [SUCCESS, TIME]}, LONG]}, False, True, True),
        ({"any": [own(n=1), LONG]}, True, True, True),
        ({"all": [own(n=2), SUCCESS]}, False, False, False),
    ],
)
def test_all_and_any(spec, after_good, after_bad, late_good):
    assert [due(spec, GOOD), due(spec, BAD), due(spec, GOOD, 100)] == [after_good, after_bad, late_good]


@pytest.mark.parametrize(
    "spec",
    [
        {"all": [{**TIME, "threshold": 101}, {**SUCCESS, "patience": 9}]},  # behind an unmet rule
        {"any": [TIME, {**SUCCESS, "patience": 9}]},  # behind a met one
    ],
)
def test_every_rule_is_asked_at_every_check(spec):
    rule = built(spec)
    rule.record(GOOD)
    for _ in range(3):
        rule.due(100)
    assert rule.progress()["met_in_a_row"] == 3.0, "asking is what counts a check"


def test_evaluations_count_as_alone():
    rule = built({"all": [EVAL, SUCCESS]})
    rule.record(GOOD)
    seen = []
    for reward in (10.0, 9.0, 10.0, 10.0):
        rule.record_evaluation({"eval/mean_reward": reward})
        seen.append([rule.due(0) for _ in range(3)])  # checks between two evaluations count for nothing
    assert seen == [[False] * 3] * 3 + [[True] * 3]


def test_names_of_numbers_are_kept_apart_where_they_clash():
    rule = built({"all": [SUCCESS, TIME, {"any": [{**SUCCESS, "window": 2, "threshold": 0.1}, LONG]}]})
    rule.record(BAD)
    rule.record(GOOD)
    assert not rule.due(0)
    assert rule.progress() == {
        "success_rate/0": 1.0,
        "met_in_a_row/0": 1.0,
        "success_rate/2": 0.5,
        "met_in_a_row/2": 1.0,
        "ep_len_mean": 10.0,
        "met_in_a_row/3": 0.0,
    }
    assert built({"all": [SUCCESS, TIME]}).progress() == {"met_in_a_row": 0.0}


def test_reset_forgets_in_every_rule():
    rule = built({"any": [SUCCESS, own(n=1)]})
    rule.record(GOOD)
    assert rule.due(0)
    rule.reset()
    assert not rule.due(0)


def test_state_goes_through_json_and_continues_equally():
    spec = {"any": [{"all": [{**SUCCESS, "window": 3, "patience": 2}, EVAL]}, own(n=4)]}
    stream = [GOOD, BAD, GOOD, GOOD, GOOD, BAD, GOOD, GOOD, GOOD, GOOD, BAD]

    def feed(rule, i):
        rule.record(stream[i])
        rule.record_evaluation({"eval/mean_reward": 5.0 * (i % 4)})
        return rule.due(0), rule.progress()

    for cut in range(len(stream)):
        rule, other = built(spec), built(spec)
        for i in range(cut):
            feed(rule, i)
        other.load_state_dict(json.loads(json.dumps(rule.state_dict())))
        assert [feed(rule, i) for i in range(cut, 11)] == [feed(other, i) for i in range(cut, 11)]


def test_a_curriculum_moves_by_it():
    curriculum = Curriculum([{"name": "a", "promote": {"all": [SUCCESS, TIME]}}, {"name": "b"}])
    curriculum.record([GOOD], timesteps=99)
    assert not curriculum.advance(99)
    curriculum.record([GOOD], timesteps=1)
    (change,) = curriculum.advance(100)
    assert str(change).startswith("curriculum: level 0 'a' -> 1 'b' at timestep 100 (success_rate 1")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"all": []}, "p.all: empty; give at least one rule"),
        ({"any": "success_rate"}, "p.any: must be a list of rules, is 'success_rate'"),
        ({"any": SUCCESS}, "p.any: must be a list of rules"),
        ({"all": [SUCCESS], "window": 3}, "p.window: not known beside all; give it to a rule of the list"),
        ({"all": [SUCCESS], "any": [TIME]}, "p.any: not known beside all"),
        ({"all": [SUCCESS], "class_path": "os.system"}, "p.class_path: not known beside all"),
        ({"all": [SUCCESS, {"metric": "timestep"}]}, "p.all[1].metric: unknown 'timestep'.* mean 'timesteps'?"),
        ({"any": [{"all": [{**SUCCESS, "windw": 1}]}]}, "p.any[0].all[0].windw: not an option.* mean 'window'?"),
        ({"any": [own(m=3)]}, "p.any[0].init_args.m: not an option of"),
        ({"al": [SUCCESS]}, "p.metric: missing; .* Did you mean 'all'?"),
        ({"all": [SUCCESS, None]}, "p.all[1]: must be a mapping, is None"),
    ],
)
def test_mistakes_name_the_key(spec, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?").replace("[", r"\[")) as error:
        build_rule(spec, "p")
    assert "\n" not in str(error.value)


def test_parts_are_all_the_rules_within():
    assert parts_of_rule(SUCCESS) == [SUCCESS]
    assert parts_of_rule({"all": [SUCCESS, {"any": [TIME, {"all": [EVAL]}]}]}) == [SUCCESS, TIME, EVAL]
    assert parts_of_rule({"all": [SUCCESS], "any": [EVAL]}) == [SUCCESS, EVAL]
    assert parts_of_rule(None) == parts_of_rule("all") == parts_of_rule({"all": 3}) == []


@pytest.mark.parametrize(
    ("curriculum", "message"),
    [
        (
            {"levels": [{"name": "a", "promote": {"any": [SUCCESS, {"all": [own(n=1)]}]}}]},
            "the rule 'tests.curriculum.test_own_rule.InARow' of level 'a'",
        ),
        ({"levels": [], "sample": {"class_path": "my.Sampler"}}, "the class 'my.Sampler' in curriculum.sample"),
        (
            {"levels": [], "schedule": {"strategy": "ladder", "up": {"any": [own(n=1)]}}},
            "the class 'tests.curriculum.test_own_rule.InARow' in curriculum.schedule",
        ),
    ],
)
def test_a_checkpoint_imports_nothing_that_they_name(curriculum, message):
    with pytest.raises(ConfigError, match=message):
        refuse_foreign_classes({"curriculum": curriculum}, {})
    refuse_foreign_classes({"curriculum": curriculum}, {"curriculum": curriculum})
