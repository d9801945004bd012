"""Levels from YAML, mistakes in them, and the difference between two lists."""

import gymnasium as gym
import pytest
from jsonargparse import ArgumentParser

from lit_rl.curriculum import (
    Curriculum,
    CurriculumConfig,
    Level,
    LevelDifference,
    Mix,
    deliver,
    differences,
    read_levels,
)
from lit_rl.envs.examples.gates import Gates
from lit_rl.errors import ConfigError
from tests.helpers.curricula import listed

YAML = """
curriculum:
  levels:
    - name: near
      env_kwargs: {distance: 2, label: "3"}
      promote: {metric: success_rate, threshold: 0.9, window: 50, min_episodes: 50, patience: 1}
    - name: far
      env_kwargs: {distance: 10}
      promote:
        class_path: lit_rl.curriculum.rules.TimestepsRule
        init_args: {threshold: 5}
      demote: {metric: success_rate, below: 0.2}
      mix: {share: 0.25, spread: previous}
    - name: farther
"""


def parse(text):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(CurriculumConfig, "curriculum")
    config = parser.parse_string(text)
    return parser.instantiate(config).curriculum.levels, parser.dump(config)


RULE = {"metric": "success_rate", "threshold": 0.9}
EXPECTED = [
    Level(
        "near",
        env_kwargs={"distance": 2, "label": "3"},
        promote={**RULE, "window": 50, "min_episodes": 50, "patience": 1},
    ),
    Level(
        "far",
        env_kwargs={"distance": 10},
        promote={"class_path": "lit_rl.curriculum.rules.TimestepsRule", "init_args": {"threshold": 5}},
        demote={"metric": "success_rate", "below": 0.2},
        mix=Mix(0.25, "previous"),
    ),
    Level("farther"),
]


def test_yaml_through_jsonargparse_and_back():
    levels, dumped = parse(YAML)
    assert levels == EXPECTED
    assert parse(dumped)[0] == EXPECTED
    assert listed(levels).levels == EXPECTED


def test_plain_mappings_read_the_same():
    assert (
        read_levels(
            [
                {"name": "near", "env_kwargs": EXPECTED[0].env_kwargs, "promote": EXPECTED[0].promote},
                {
                    "name": "far",
                    "env_kwargs": {"distance": 10},
                    "promote": EXPECTED[1].promote,
                    "demote": EXPECTED[1].demote,
                    "mix": {"share": 0.25, "spread": "previous"},
                },
                {"name": "farther"},
            ]
        )
        == EXPECTED
    )


def two(first=None, second=None):
    return [{"name": "a", "promote": RULE, **(first or {})}, {"name": "b", **(second or {})}]


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([], r"curriculum.levels: empty"),
        (["near"], r"curriculum.levels\[0\]: must be a mapping, is 'near'"),
        ([{"nam": "a"}], r"levels\[0\].nam: unknown; .* Did you mean 'name'\?"),
        ([{}], r"levels\[0\].name: missing"),
        ([{"name": 3}], r"levels\[0\].name: must be a word, is 3"),
        (two(second={"name": "a"}), r"levels\[1\].name: 'a' is level 0's name too"),
        (two({"promote": None}), r"levels\[0\].promote: missing, so level 'a' would never be left"),
        (two(second={"promote": RULE}), r"levels\[1\].promote: the last level has no next one"),
        (two({"demote": RULE}), r"levels\[0\].demote: the first level has none before it"),
        (two({"promote": {"metric": "sucess_rate"}}), r"levels\[0\].promote.metric: unknown 'sucess_rate'"),
        (two(second={"demote": {**RULE, "windw": 1}}), r"levels\[1\].demote.windw: not an option"),
        (two({"mix": {"share": 0.5}}), r"levels\[0\].mix.share: the first level has no earlier ones"),
        (two(second={"mix": {"share": 1.0}}), r"levels\[1\].mix.share: .* less than 1, is 1.0"),
        (two(second={"mix": {"shar": 0.1}}), r"levels\[1\].mix.shar: unknown; .* Did you mean 'share'\?"),
        (
            two(second={"mix": {"spread": "evn"}}),
            r"levels\[1\].mix.spread: unknown 'evn'.* Did you mean 'even'\?",
        ),
        (two({"attributes": {"wind": 1}}), r"levels\[1\].attributes.wind: missing, and level 0 sets it"),
        (two(second={"set_level": 1}), r"levels\[0\].set_level: level 1 has it"),
    ],
)
def test_mistakes_name_the_key(levels, message):
    with pytest.raises(ConfigError, match=message) as error:
        Curriculum(levels)
    assert "\n" not in str(error.value)


def test_deliver_sets_attributes_and_calls_set_level_through_wrappers():
    env = gym.wrappers.TimeLimit(Gates(0), 50)
    deliver(env, Level("a", set_level=3))
    assert (env.unwrapped.walls, env.unwrapped.gate_width) == (2, 0.5)
    deliver(env, Level("a", attributes={"gate_width": 0.01}))
    assert (env.unwrapped.walls, env.unwrapped.gate_width) == (2, 0.01)


def test_deliver_names_what_the_environment_lacks():
    with pytest.raises(ConfigError, match=r"attribute 'gate_with', which Gates lacks.* Did you mean 'gate_width'"):
        deliver(Gates(), Level("a", attributes={"gate_with": 1}))
    with pytest.raises(ConfigError, match="level 'a' uses set_level, and CartPoleEnv has no method of that name"):
        deliver(gym.make("CartPole-v1"), Level("a", set_level=1))


def test_changes_between_lists_are_told_level_by_level():
    new = [
        Level("warmup", promote=RULE),
        Level("near", env_kwargs={"distance": 3, "label": "3"}, promote={**RULE, "window": 50, "patience": 2}),
        Level("farther", mix=Mix(0.5)),
    ]
    assert differences(EXPECTED, new) == [
        LevelDifference("far", "level 1", "(not set)"),
        LevelDifference("warmup", "(not set)", "level 0"),
        LevelDifference("near", "level 0", "level 1"),
        LevelDifference("near.env_kwargs.distance", "2", "3"),
        LevelDifference("near.promote.min_episodes", "50", "(not set)"),
        LevelDifference("near.promote.patience", "1", "2"),
        LevelDifference("farther.mix.share", "0.0", "0.5"),
    ]
    assert differences(EXPECTED, EXPECTED) == []
    assert differences([Level("a", set_level=1)], [Level("a", set_level=2)]) == [
        LevelDifference("a.set_level", "1", "2")
    ]
    assert differences([Level("a", env_kwargs={"x": None})], [Level("a")]) == [
        LevelDifference("a.env_kwargs.x", "None", "(not set)")
    ]
