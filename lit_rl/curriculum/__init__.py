"""Levels of rising difficulty as part of a run: which level is current, and when it changes."""

from lit_rl.curriculum.changes import LevelDifference, differences
from lit_rl.curriculum.config import CurriculumConfig
from lit_rl.curriculum.curriculum import Curriculum, LevelChange, make_curriculum
from lit_rl.curriculum.delivery import deliver
from lit_rl.curriculum.levels import Level, Mix, read_levels
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
    "Rule",
    "Sampler",
    "Strategy",
    "deliver",
    "differences",
    "make_curriculum",
    "read_levels",
]
