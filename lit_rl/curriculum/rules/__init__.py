"""Rules that say when to leave a level; one a file."""

from lit_rl.curriculum.rules.build import build_rule, parts_of_rule
from lit_rl.curriculum.rules.combined import CombinedRule
from lit_rl.curriculum.rules.evaluation import EvaluationRule
from lit_rl.curriculum.rules.rule import Rule
from lit_rl.curriculum.rules.threshold import ThresholdRule
from lit_rl.curriculum.rules.timesteps import TimestepsRule

__all__ = [
    "CombinedRule",
    "EvaluationRule",
    "Rule",
    "ThresholdRule",
    "TimestepsRule",
    "build_rule",
    "parts_of_rule",
]
