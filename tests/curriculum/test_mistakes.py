"""Mistakes in the block, each answered in one line with its key."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lit_rl import DQN
from lit_rl.curriculum import make_curriculum
from lit_rl.errors import ConfigError

TWO = {"n_levels": 2, "sample": "uniform"}
REPLAY = {"n_levels": 2, "sample": "replay"}
CLASHING = {
    "d": {"sample": "uniform", "levels": [{"name": "a"}, {"name": "a+b"}]},
    "w": {"sample": "uniform", "levels": [{"name": "b+c"}, {"name": "c"}]},
}


def values(value: Any) -> dict[str, Any]:
    return {"attributes": {"x": value}}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"sample": "uniform", "schedule": "ladder", "n_levels": 2}, "curriculum.sample: given together with schedule"),
        ({"schedule": {"strategy": "list", "start": [0, 1]}}, "curriculum.schedule: list takes no options"),
        ({"n_levels": 3}, "curriculum.n_levels: levels without rules are for schedule: ladder, or for sample"),
        ({**TWO, "levels": [{"name": "a"}]}, "curriculum.n_levels: given together with levels"),
        ({**TWO, "attributes": {1: 2}}, "curriculum.attributes: key 1 is no name"),
        ({"sample": "uniform", "levels": [{"name": "a", "promote": {"metric": "x"}}]}, "levels[0].promote: levels are"),
        ({"dimensions": {"a": TWO}, "sample": "uniform"}, "curriculum.sample: given beside dimensions"),
        ({"dimensions": {"a/b": TWO}}, "'a/b' is no name of a dimension"),
        ({"dimensions": {1: TWO}}, "1 is no name of a dimension"),
        ({"dimensions": {"a": REPLAY, "b": REPLAY}}, "two of them choose seeds; give `seeds: null`"),
        ({"dimensions": CLASHING}, "'a+b+c' names two levels together"),
        ({"dimensions": {n: {**TWO, **values(1)} for n in "ab"}}, "dimensions.b: sets 'x', and so does dimension a"),
        ({"dimensions": {n: {**TWO, "n_levels": 200} for n in "ab"}}, "make 40,000 levels together"),
        ({**TWO, "visible": True, **values({"choice": ["a"]})}, None),
        ({"visible": True, **values(1)}, "curriculum.visible: is true, and there is one level with nothing drawn"),
        (values({"unifrm": [0, 1]}), "curriculum.attributes.x.unifrm: makes no value. Did you mean 'uniform'?"),
        (values({"uniform": [1]}), "curriculum.attributes.x.uniform: must be [low, high], is [1]"),
        (values({"uniform": [1, 0]}), "must not be above the second"),
        (values({"loguniform": [0, 1]}), "both bounds must be above 0"),
        (values({"gaussian": [0, -1]}), "the standard deviation must be at least 0"),
        (values({"integers": [0, 2**70]}), "both bounds must be whole numbers within"),
        (values({"integers": [0, 1.5]}), "both bounds must be whole numbers within"),
        (values({"choice": []}), "must be a list of values"),
        (values({"ranges": [[1, 1]]}), "which has no room; use choice"),
        (values({"ramp": [0, 1]}), "needs `over`: a number of timesteps"),
        (values({"ramp": [0, 1], "over": "levels"}), "there is one level only here"),
        (values({"ramp": [0, 1], "over": 10, "from": 3}), "x.from: not known beside ramp"),
        (values({"steps": [[0, 1], [0.5, 2]]}), "timesteps are whole numbers"),
        (values({"steps": [[5, 1]]}), "must begin at 0 and rise"),
        (values({"a": {"b": {"uniform": [0, 1]}}}), "x.a.b: values are made for whole parameters only"),
        (values([{"uniform": [0, 1]}]), "x[0]: values are made for whole parameters only"),
        (values({"adr": {"start": 0, "limits": [0, 1], "step": 0.1}}), "curriculum.adr: missing"),
        ({**values({"adr": {"start": 0, "limits": [0, 1], "stp": 1}}), "adr": {"widen": 1}}, "adr: unknown key 'stp'"),
        ({**TWO, "adr": {"widen": 1, "narrow": 0}}, "curriculum.adr: no parameter is given"),
        ({**values(1), "env_kwargs": {"x": {"uniform": [0, 1]}}}, "'x' is made for each episode and stands in two"),
    ],
    ids=str,
)  # fmt: skip
def test_mistakes_are_one_line(block: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert make_curriculum(block, 4) is not None
        return
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        make_curriculum(block, 4)
    assert "\n" not in str(raised.value)


def test_weights_of_levels_by_number() -> None:
    curriculum = make_curriculum({"n_levels": 2, "sample": {"strategy": "weights", "weights": {0: 1, 1: 3}}}, 4)
    assert curriculum is not None
    assert curriculum.metrics()["curriculum/probability/1"] == 0.75


def test_what_only_a_list_can_do_is_refused_elsewhere() -> None:
    with pytest.raises(ConfigError, match=r"model\.on_promotion: drop needs a list of levels"):
        DQN("CartPole-v1", curriculum=TWO, on_promotion="drop")
    with pytest.raises(ConfigError, match=r"curriculum\.sample: replay goes by the mean absolute advantage"):
        DQN("CartPole-v1", curriculum=REPLAY)


def test_a_list_takes_over_no_run_whose_levels_were_drawn() -> None:
    drawn, listed = make_curriculum(TWO, 4), make_curriculum({"levels": [{"name": "a"}]}, 4)
    assert drawn is not None
    assert listed is not None
    with pytest.raises(ConfigError, match="carry needs a run on a list of levels"):
        listed.carry(drawn.state_dict())


def test_a_dimension_is_judged_on_its_own_level() -> None:
    """Two levels of `d`, on the first; three of `w`, which are drawn: the first three together are its own."""
    rule = {"metric": "eval/success_rate", "threshold": 0.9}
    block = {"d": {"levels": [{"name": "near", "promote": rule}, {"name": "far"}]}, "w": {**TWO, "n_levels": 3}}
    curriculum = make_curriculum({"dimensions": block}, 4)
    assert curriculum is not None
    assert curriculum.judged_on() == {"d": [0, 1, 2]}
    curriculum.dimensions["d"].record_evaluation({"eval/success_rate": 1.0})
    assert [change.new_name for change in curriculum.advance(10)] == ["far"]
    assert curriculum.judged_on() == {"d": [3, 4, 5]}
