"""A user's own rule is one class named by class_path."""

import pytest

from lit_rl.curriculum import Rule
from lit_rl.curriculum.rules import build_rule
from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError
from tests.helpers.curricula import listed


class InARow(Rule):
    """Due after `n` successes in a row."""

    def __init__(self, n):
        self.n = n

    def record(self, outcome):
        self.count = self.count + 1 if outcome.success else 0

    def due(self, timesteps_at_level):
        return self.count >= self.n

    def reset(self):
        self.count = 0

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class Unfinished(Rule):
    def due(self, timesteps_at_level):
        return False


def own(**init_args):
    return {"class_path": f"{__name__}.InARow", "init_args": init_args}


@pytest.mark.parametrize(("n", "level"), [(3, 1), (4, 0)])
def test_own_rule_promotes(n, level):
    curriculum = listed([{"name": "a", "promote": own(n=n)}, {"name": "b"}])
    successes = [Episode(0, 0.0, 1, success) for success in (True, False, True, True, True)]
    curriculum.record(successes, timesteps=5)
    curriculum.record_evaluation({"eval/mean_reward": 1.0})
    curriculum.advance(5)
    assert curriculum.level == level


def test_own_rule_state_is_restored():
    levels = [{"name": "a", "promote": own(n=2)}, {"name": "b"}]
    curriculum, other = listed(levels), listed(levels)
    curriculum.record([Episode(0, 0.0, 1, True)], timesteps=1)
    other.load_state_dict(curriculum.state_dict())
    other.record([Episode(0, 0.0, 1, True)], timesteps=1)
    assert other.advance(2) is not None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (own(m=3), "p.init_args.m: not an option of .*InARow; its options are n"),
        (own(), "p.init_args.n: missing"),
        ({**own(n=1), "patience": 2}, "p.patience: not known beside class_path; move it under init_args"),
        ({"class_path": "nowhere.Rule"}, "p.class_path: cannot import 'nowhere.Rule'"),
        ({"class_path": "Rule"}, "p.class_path: cannot import 'Rule'.*write module.Class"),
        ({"class_path": f"{__name__}.InARows"}, "p.class_path: cannot import"),
        ({"class_path": f"{__name__}.own"}, "p.class_path: .*own is not a class"),
        ({"class_path": "fractions.Fraction"}, "p.class_path: fractions.Fraction is no rule"),
        (
            {"class_path": f"{__name__}.Unfinished"},
            "unfinished rule; write its load_state_dict, reset, state_dict",
        ),
    ],
)
def test_mistakes_name_the_key(spec, message):
    with pytest.raises(ConfigError, match=message):
        build_rule(spec, "p")
