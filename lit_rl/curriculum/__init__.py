"""Levels as part of a run: what each sets, and on which of them an episode is played."""

from lit_rl.curriculum.changes import LevelDifference, differences
from lit_rl.curriculum.config import CurriculumConfig
from lit_rl.curriculum.curriculum import Curriculum, make_curriculum
from lit_rl.curriculum.delivery import deliver
from lit_rl.curriculum.dimension import LevelChange
from lit_rl.curriculum.levels import Level, Mix, Played, read_levels
from lit_rl.curriculum.rules.rule import Rule
from lit_rl.curriculum.strategies.sampler import Sampler
from lit_rl.curriculum.strategies.strategy import Strategy

__all__ = [
    "Curriculum",
    "CurriculumConfig",
    "Level",
    "LevelChange",
    "LevelDifference",
    "Mix",
    "Played",
    "Rule",
    "Sampler",
    "Strategy",
    "deliver",
    "differences",
    "make_curriculum",
    "read_levels",
]
