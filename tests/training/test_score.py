"""By which checkpoints are compared, and whether an evaluation ends the run."""

from __future__ import annotations

from typing import Any

import pytest

from lit_rl.curriculum import CurriculumConfig, make_curriculum
from lit_rl.state.records import Counters, EpisodeWindow
from lit_rl.training.config import EvalConfig
from lit_rl.training.score import Score
from tests.helpers import envs
from tests.helpers.on_policy import iterate, make_ppo

LEVELS = {
    "levels": [
        {"name": "a", "promote": {"metric": "timesteps", "threshold": 30}},
        {"name": "b", "promote": {"metric": "timesteps", "threshold": 30}},
        {"name": "c"},
    ]
}


def score_of(**config: Any) -> Score:
    curriculum = make_curriculum(CurriculumConfig.from_plain(LEVELS), 2)
    return Score(EvalConfig(every=10, **config), curriculum, EpisodeWindow(), Counters())


@pytest.mark.parametrize(
    ("level", "at", "reward", "ends"),
    [
        ("current", 2, 5.0, True),
        ("current", 2, 4.9, False),
        ("current", 1, 9.0, False),  # not on the last level yet
        ("last", 0, 5.0, True),
        ("all", 0, 5.0, True),
    ],
)
def test_an_evaluation_ends_the_run_on_the_last_level_only(level: Any, at: int, reward: float, ends: bool) -> None:
    score = score_of(level=level, stop_on_reward=5.0)
    score.evaluated.take(10, reward, at)
    assert score.ends_the_run(score.evaluated) is ends


def test_a_score_on_a_later_level_is_better() -> None:
    score = score_of()
    for timesteps, (reward, level, best) in enumerate(
        [(3.0, 0, True), (2.0, 0, False), (1.0, 1, True), (9.0, 0, False)]
    ):
        score._counters.timesteps = timesteps
        score.evaluated.take(timesteps, reward, level)
        assert (score.value, score.level, score.offer()) == (reward, level, best)
    assert (score.best.score, score.best.level) == (1.0, 1)


def test_there_is_a_score_at_the_moment_of_an_evaluation_only() -> None:
    score = score_of()
    score.evaluated.take(10, 1.0, 0)
    assert score.value is None
    score._counters.timesteps = 10
    assert score.value == 1.0


def test_an_evaluation_is_noted_with_its_level_in_the_part_that_is_saved() -> None:
    """In place: a snapshot holds the part, and puts back what it was."""
    env = {"class_path": envs.PATH + "Noisy", "n_envs": 2, "max_episode_steps": 6}
    ppo = make_ppo(env, n_steps=8, batch_size=16, curriculum=LEVELS, evaluation={"every": 16, "episodes": 1})
    part = ppo.run_parts()["evaluation"]
    iterate(ppo, 5)
    assert ppo.curriculum is not None
    assert ppo.curriculum.current == 2
    assert ppo.run_parts()["evaluation"] is part
    assert part is not None
    state = part.state_dict()
    assert (state["timesteps"], state["level"]) == (80, 2)
