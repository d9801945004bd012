"""Which level an episode is played on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lit_rl.curriculum.levels import Level


def level_for(levels: Sequence[Level], current: int, env_index: int, episode_index: int) -> int:
    """Level of an episode that begins while `levels[current]` is current.

    It depends on the arguments alone, so an environment can find out by itself, wherever it runs.

    Args:
        levels: of the curriculum.
        current: the curriculum's current level.
        env_index: global index of the environment.
        episode_index: which of its episodes this is, from 0.
    """
    mix = levels[current].mix
    before = kept_back(env_index, mix.share)
    if kept_back(env_index + 1, mix.share) == before:
        return current
    if mix.spread == "previous":
        return current - 1
    return (before + episode_index) % current


def kept_back(n_envs: int, share: float) -> int:
    """How many of the first `n_envs` environments stay on earlier levels: `share` of them, rounded down."""
    return math.floor(n_envs * share + 1e-9)
