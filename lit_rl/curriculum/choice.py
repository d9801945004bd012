"""Which level an episode is played on: a distribution that stands still until the iteration ends.

A choice is a pure function of the environment, its episode and a number that derives from both and the run's seed. So
any process can ask for its own environments, no random state is kept, and ranks and workers change nothing.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import Literal, Protocol


class Choice(Protocol):
    """Says which level an episode is played on."""

    def level(self, env_index: int, episode_index: int, u: float) -> tuple[int, int | None]:
        """Index of the level, and the seed of its reset, where levels are told apart by seeds.

        Args:
            env_index: global index of the environment.
            episode_index: which of its episodes this is, from 0.
            u: uniform in [0, 1), the episode's own.
        """


@dataclass(frozen=True)
class Current:
    """The current level of a list, and a share of environments that stays on earlier ones.

    Args:
        current: index of the level.
        share: of the environments, rounded down. They are chosen by index alone, evenly over the indices.
        spread: `even` takes them through all earlier levels, one an episode; `previous` keeps them on the last.
    """

    current: int = 0
    share: float = 0.0
    spread: Literal["even", "previous"] = "even"

    def level(self, env_index: int, episode_index: int, u: float) -> tuple[int, int | None]:
        before = kept_back(env_index, self.share)
        if kept_back(env_index + 1, self.share) == before:
            return self.current, None
        if self.spread == "previous":
            return self.current - 1, None
        return (before + episode_index) % self.current, None


def kept_back(n_envs: int, share: float) -> int:
    """How many of the first `n_envs` environments stay on earlier levels: `share` of them, rounded down."""
    return math.floor(n_envs * share + 1e-9)


@dataclass(frozen=True)
class PerEnv:
    """Every environment on a level of its own.

    Args:
        levels: index of each environment's level, by environment index.
    """

    levels: tuple[int, ...]

    def level(self, env_index: int, episode_index: int, u: float) -> tuple[int, int | None]:
        return self.levels[env_index], None


@dataclass(frozen=True)
class Weighted:
    """Drawn anew for every episode.

    Args:
        cumulative: running sums of the probabilities of the entries, the last of which is 1.
        levels: the level of each entry.
        seeds: the seed of each entry, where levels are told apart by seeds.
    """

    cumulative: tuple[float, ...]
    levels: tuple[int, ...]
    seeds: tuple[int, ...] | None = None

    def level(self, env_index: int, episode_index: int, u: float) -> tuple[int, int | None]:
        at = min(bisect.bisect_right(self.cumulative, u), len(self.levels) - 1)
        return self.levels[at], None if self.seeds is None else self.seeds[at]


def weighted(probabilities: list[float]) -> Weighted:
    """A choice among as many levels as there are probabilities, which need not sum to 1.

    A level of probability 0 is never chosen.
    """
    total = math.fsum(probabilities)
    sums: list[float] = []
    at: list[int] = []
    for i, probability in enumerate(probabilities):
        if probability > 0.0:
            sums.append((sums[-1] if sums else 0.0) + probability / total)
            at.append(i)
    return Weighted((*sums[:-1], 1.0), tuple(at))
