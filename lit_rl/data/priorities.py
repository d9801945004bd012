"""Prioritised replay (Schaul et al. 2016, arXiv:1511.05952, proportional variant): what is surprising is sampled more.

Every transition of a replay has a priority, in a binary tree whose inner nodes are the sums of their two children. Each
sum is worked out anew from its children: the tree depends on its leaves alone, never on the way that led to them.

Shapes: B a batch, N environments of this rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lit_rl.data.config import PrioritizedReplay
from lit_rl.data.replay import Replay, Rows, Sampled
from lit_rl.ops.limits import at_least
from lit_rl.ops.schedules import as_schedule


class Priorities:
    """Priorities of the transitions in a replay; new ones have the highest that any has had.

    Args:
        replay: whose rows they are of. They follow it by themselves.
        config: see `PrioritizedReplay`.
    """

    def __init__(self, replay: Replay, config: PrioritizedReplay) -> None:
        self._replay, self._alpha, self._epsilon = replay, config.alpha, config.epsilon
        self.beta = as_schedule(config.beta, "model.prioritized_replay.beta", at_least(0))
        self._leaves = 1 << (replay.rows * replay.n_envs - 1).bit_length()
        self._tree = np.zeros(2 * self._leaves)
        """Node i has the children 2 i and 2 i + 1; leaves hold float32 values. Leaf ``slot N + env``."""
        self._highest = np.float32(1.0)
        self._begin = self._end = 0
        self._changed: list[tuple[np.ndarray, np.ndarray]] = []
        self._settled: tuple[int, int, Any] | None = None

    @staticmethod
    def bytes_needed(capacity: int) -> int:
        """Memory that priorities of so many transitions take."""
        return 16 << (capacity - 1).bit_length()

    # -- sampling ----------------------------------------------------------------------------------------------------

    def positions(self, uniform_B: np.ndarray) -> Sampled:
        """Positions for numbers in [0, 1), one from each of B equal shares of the sum (section 3.3)."""
        self._follow()
        B = len(uniform_B)
        rest = (np.arange(B) + uniform_B) / B * self._tree[1]
        node = np.ones(B, dtype=np.int64)
        while node[0] < self._leaves:
            node *= 2
            left = self._tree[node]
            right = (rest >= left) & (self._tree[node + 1] > 0.0)  # a rounded rest may lie behind the last leaf
            rest -= np.where(right, left, 0.0)
            node += right
        slot, env = np.divmod(node - self._leaves, self._replay.n_envs)
        return Sampled(self._begin + (slot - self._begin) % self._replay.rows, env)

    def weights(self, at: Sampled, beta: float) -> np.ndarray:
        """``(n P(i)) ** -beta`` over the batch's largest, [B] (section 3.4)."""
        chance = self._tree[self._leaves + self._leaf(at)] / self._tree[1]
        weight = (len(self._replay) * chance) ** -beta
        found: np.ndarray = weight / weight.max()
        return found

    def update(self, at: Sampled, error_B: np.ndarray) -> None:
        """Give sampled transitions the priorities of their errors; one that is not finite changes nothing."""
        self._follow()
        priority = ((np.abs(error_B.astype(np.float64)) + self._epsilon) ** self._alpha).astype(np.float32)
        good = np.isfinite(priority)
        if good.any():
            self._highest = max(self._highest, priority[good].max())
            self._set(self._leaf(at)[good], priority[good])

    def _leaf(self, at: Sampled) -> np.ndarray:
        leaf: np.ndarray = at.row % self._replay.rows * self._replay.n_envs + at.env
        return leaf

    def _set(self, leaf: np.ndarray, priority: Any) -> None:
        node = leaf + self._leaves
        self._changed.append((node, self._tree[node]))
        self._tree[node] = priority
        self._add_up(node)

    def _add_up(self, node: np.ndarray) -> None:
        while len(node) and node[0] > 1:
            node = node >> 1
            self._tree[node] = self._tree[2 * node] + self._tree[2 * node + 1]

    def _follow(self) -> None:
        """Take in what the replay has got and lost."""
        begin, end = self._replay.begin, self._replay.end
        if (begin, end) != (self._begin, self._end):
            self._set(self._leaves_of(self._begin, min(begin, self._end)), 0.0)
            self._set(self._leaves_of(max(begin, self._end), end), self._highest)
            self._begin, self._end = begin, end

    def _leaves_of(self, begin: int, end: int) -> np.ndarray:
        """The leaves of rows that the replay can hold together."""
        N = self._replay.n_envs
        leaf: np.ndarray = (np.arange(begin, end)[:, None] % self._replay.rows * N + np.arange(N)).reshape(-1)
        return leaf

    # -- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where they stand; the priorities themselves are in `pieces`."""
        self._follow()
        return {"begin": self._begin, "end": self._end, "n_envs": self._replay.n_envs, "highest": float(self._highest)}

    def pieces(self) -> Iterator[Rows]:
        """One file of all priorities: any of them may be another by the next checkpoint."""
        self._follow()
        if self._begin < self._end:
            yield Rows("leaves", self._begin, self._end, False, self)

    def columns(self, begin: int, end: int) -> dict[str, np.ndarray]:
        """Priorities of some rows, float32 [rows, N]."""
        leaf = self._leaves + self._leaves_of(begin, end)
        return {"priority": self._tree[leaf].astype(np.float32).reshape(end - begin, -1)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what a checkpoint holds, after the replay has; where that has fewer rows, of the newest."""
        self._tree[:] = 0.0
        self._end = int(state["end"])
        self._begin = max(int(state["begin"]), self._end - self._replay.rows)
        self._highest = np.float32(state["highest"])
        for first, end, columns in state["pieces"]:
            begin = max(first, self._begin)
            self._tree[self._leaves + self._leaves_of(begin, end)] = columns["priority"][begin - first :].reshape(-1)
        level = self._leaves
        while level > 1:
            level //= 2
            self._tree[level : 2 * level] = (
                self._tree[2 * level : 4 * level : 2] + self._tree[2 * level + 1 : 4 * level : 2]
            )
        self._changed = []

    def begin_at(self, row: int) -> None:
        """Begin with a replay whose oldest row this is, all of whose transitions have the priority of new ones."""
        self._begin = self._end = row

    # -- back to a boundary ------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """This is a boundary: `roll_back` comes back here."""
        self._follow()
        self._changed = []
        self._settled = (self._begin, self._end, self._highest)

    def roll_back(self) -> None:
        """Be again what they were at the last boundary."""
        if self._settled is None:
            return
        for node, before in reversed(self._changed):
            self._tree[node] = before
            self._add_up(node)
        self._changed = []
        self._begin, self._end, self._highest = self._settled
