"""The code and the YAML of docs/curriculum.md run as they stand."""

import re
from pathlib import Path

import yaml
from gymnasium.utils.env_checker import check_env

from lit_rl.curriculum import Curriculum
from lit_rl.data.episode import Episode
from lit_rl.envs.examples.gates import LEVELS

PAGE = (Path(__file__).parents[2] / "docs" / "curriculum.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def run(code):
    names = {"__name__": "page"}
    exec(code, names)
    return names


def test_the_shortest_environment_is_correct_and_its_levels_are_solvable():
    env_class = run(blocks("python")[0])["Walk"]
    levels = yaml.safe_load(blocks("yaml")[0])["curriculum"]["levels"]
    curriculum = Curriculum(levels)
    for level in curriculum.levels:
        env = env_class(**level.env_kwargs)
        check_env(env, skip_render_check=True)
        env.reset(seed=0)
        while True:
            _, reward, terminated, _, info = env.step(1)
            if terminated:
                break
        assert info["is_success"]
        assert reward == 1.0
    assert len(curriculum.levels) == 3


def test_the_other_code_runs():
    config = run(blocks("python")[1])["curriculum"]
    assert Curriculum(config).current == 0
    rule = run(blocks("python")[2])["InARow"](n=2)
    rule.reset()
    rule.record(Episode(0, 1.0, 5, True))
    assert not rule.due(0)
    rule.record(Episode(0, 1.0, 5, True))
    assert rule.due(0)


def test_the_table_of_the_example_is_its_levels():
    rows = re.findall(r"^\| (\d) \| ([\d.]+) \| (\d) \| ([\d.]*)", PAGE, re.MULTILINE)
    expected = [
        (str(i), str(level.distance), str(level.walls), str(level.gate_width) if level.walls else "")
        for i, level in enumerate(LEVELS)
    ]
    assert rows == expected
