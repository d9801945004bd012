"""How much there was to learn from an episode, for a curriculum that goes by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class AdvantageScores:
    """The mean absolute advantage of every episode, over all rollouts that it spans (Jiang et al. 2021, L1 value loss).

    Sums of the episodes in flight are its state; they are equal on all ranks.

    Args:
        n_envs: environments of all ranks.
    """

    def __init__(self, n_envs: int) -> None:
        self._sum, self._count = np.zeros(n_envs), np.zeros(n_envs, dtype=np.int64)

    def take(
        self, advantage: np.ndarray, ended: Sequence[tuple[int, int]], broken: Sequence[tuple[int, int]] = ()
    ) -> list[float]:
        """The scores of the episodes that ended in a rollout.

        Args:
            advantage: [T, N] of all environments.
            ended: (step, environment) of the last transition of each, in the order of steps.
            broken: the same of episodes that ended without a result: their environments were lost.
        """
        steps = len(advantage)
        sums = np.cumsum(np.abs(advantage, dtype=np.float64), axis=0)
        begun = np.zeros(advantage.shape[1], dtype=np.int64)
        before = np.zeros(advantage.shape[1])
        scores = []
        lost = set(broken)
        for step, env in sorted([*ended, *lost], key=lambda each: each[0]):
            total = self._sum[env] + sums[step, env] - before[env]
            if (step, env) not in lost:
                scores.append(float(total / (self._count[env] + step + 1 - begun[env])))
            self._sum[env], self._count[env] = 0.0, 0
            before[env], begun[env] = sums[step, env], step + 1
        self._sum += sums[-1] - before
        self._count += steps - begun
        return scores

    def forget(self, envs: Sequence[int]) -> None:
        """The episodes in flight of these environments are no more."""
        self._sum[list(envs)], self._count[list(envs)] = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """Sums and lengths of the episodes in flight."""
        return {"sum": self._sum.copy(), "count": self._count.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`; of another number of environments, those that are there."""
        kept = min(len(self._sum), len(state["sum"]))
        self._sum[:kept], self._count[:kept] = np.asarray(state["sum"])[:kept], np.asarray(state["count"])[:kept]
