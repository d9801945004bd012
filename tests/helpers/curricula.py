"""Curricula without a run around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lit_rl.curriculum import Curriculum, Level
from lit_rl.curriculum.assignment import Assignment
from lit_rl.curriculum.choice import Current
from lit_rl.curriculum.dimension import Dimension
from lit_rl.curriculum.listed import Listed


def listed(levels: Sequence[Any]) -> Listed:
    """A list of levels with one current level for the whole run."""
    only = Curriculum(levels).dimensions[""]
    assert isinstance(only, Listed)
    return only


def chosen(dimension: Dimension, episodes: Sequence[int]) -> list[int]:
    """The level that each environment's episode is played on, given how many it has played before."""
    choice = dimension.choice()
    return [choice.level(i, episode, 0.0)[0] for i, episode in enumerate(episodes)]


def while_current(levels: Sequence[Level], level: int) -> Assignment:
    """What is assigned while one level of a list is current."""
    mix = levels[level].mix
    return Assignment((Current(level, mix.share, mix.spread),), (len(levels),))
