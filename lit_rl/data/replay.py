"""Replay: the last transitions of this rank's environments, raw, in a ring.

A row is one step of all environments. Rows are counted from the run's start and never anew: row k lies in slot
``k mod rows`` of the ring, and what is sampled depends on k alone. Those that a warm start has taken over from another
run came before and have numbers below 0. An observation is stored once, for it is also the next one of the row before;
where an episode ended, its last observation stands in a table beside the ring.

Shapes: N environments of this rank, B a batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from lit_rl.data.ring import copied, memory, named, read, stored, unnamed, write
from lit_rl.data.rollout import batch_of
from lit_rl.ops.tree import Obs, leaves, tree_map, write_at

FILES = 256
"""At most about so many files hold a full replay; the newest, which is not full, is written with every checkpoint."""

SMALLEST_FILE = 1 << 16
"""Bytes, about, that one holds at least."""


class HasRows(Protocol):
    """What rows lie in."""

    def columns(self, begin: int, end: int) -> dict[str, np.ndarray]:
        """Some of them, by column."""


@dataclass(frozen=True)
class Rows:
    """Some rows of a replay, for one file of a checkpoint.

    Args:
        name: of the place in the run: what is complete has the same name and rows in every checkpoint that has it.
        begin, end: the rows; of a place whose first rows are gone, what is left.
        complete: whether nothing will be added: such a file is written once.
        of: whose they are.
    """

    name: str
    begin: int
    end: int
    complete: bool
    of: HasRows = field(repr=False)

    def columns(self) -> dict[str, np.ndarray]:
        """Arrays by name, [rows, N, ...]."""
        return self.of.columns(self.begin, self.end)


@dataclass
class Sampled:
    """Positions of sampled transitions.

    Args:
        row: [B] rows, counted from the run's start.
        env: [B] positions of their environments.
    """

    row: np.ndarray
    env: np.ndarray


@dataclass
class Steps:
    """What follows sampled transitions over one or several steps.

    Args:
        obs: [B, ...] as the environments showed it.
        action: [B, ...].
        reward: [B, n] float64 of each step, 0 after the window's end.
        length: [B] steps of each window, from 1: it ends where its episode does, and at the newest row.
        next_obs: [B, ...] what the last step led to.
        terminated: bool [B], whether the episode ended there for good.
    """

    obs: Any
    action: Tensor
    reward: np.ndarray
    length: np.ndarray
    next_obs: Any
    terminated: np.ndarray


class Replay:
    """A ring of transitions.

    Args:
        capacity: transitions of all N environments together; N times a whole number of rows is kept.
        n_envs: N.
        observation_space, action_space: of one environment, before normalisation. Box actions are stored as float32.
    """

    def __init__(
        self, capacity: int, n_envs: int, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
    ) -> None:
        self.n_envs, self.rows = n_envs, max(capacity // n_envs, 1)
        obs, action = memory(observation_space, self.rows + 1, n_envs), memory(action_space, self.rows, n_envs)
        self._obs, self._action = tree_map(lambda part: part.flatten(0, 1), obs), action.flatten(0, 1)
        self._obs_np, self._action_np = tree_map(Tensor.numpy, obs), action.numpy()
        self._reward = np.zeros((self.rows, n_envs))
        self._terminated = np.zeros((self.rows, n_envs), dtype=bool)
        self._truncated = np.zeros((self.rows, n_envs), dtype=bool)
        self._level = np.zeros((self.rows, n_envs), dtype=np.int16)
        self._finals: dict[tuple[int, int], Any] = {}
        self._head: Obs | None = None
        self.begin = 0
        """The oldest row that is there."""
        self._first = 0
        """The oldest row of which something lies in the ring, be it forgotten."""
        self.end = 0
        """Rows since the run's start: the number of the next one."""
        self.since = np.zeros(n_envs, dtype=np.int64)
        """[N] the row with which each environment's oldest episode of which something is there began."""
        self.corrected = 0
        """How often something was said of a row after it had been added."""
        row_bytes = self.bytes_needed(1, 1, observation_space, action_space) // 2 * n_envs
        self.segment_rows = max(self.rows // FILES, SMALLEST_FILE // row_bytes, 1)
        self._overwritten: list[tuple[int, dict[str, Any]]] | None = None
        self._settled: tuple[int, int, Any, np.ndarray] = (0, 0, None, self.since)

    def __len__(self) -> int:
        """Transitions that are there."""
        return (self.end - self.begin) * self.n_envs

    @staticmethod
    def bytes_needed(
        capacity: int, n_envs: int, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
    ) -> int:
        """Memory that a full one takes, without the observations that episodes ended with."""
        rows = max(capacity // n_envs, 1)
        sizes = [
            sum(leaf.nbytes for leaf in leaves(batch_of(space, 1, 1))) for space in (observation_space, action_space)
        ]
        return int((rows + 1) * n_envs * (sum(sizes) + 8 + 1 + 1 + 2))

    # -- playing -------------------------------------------------------------------------------------------------

    def add(
        self,
        action: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        next_obs: Obs,
        finals: Iterable[tuple[int, Any]],
        level: np.ndarray | int = 0,
    ) -> None:
        """Add one step of all environments from what they showed when `observe` was called.

        Args:
            action: [N, ...].
            reward, terminated, truncated: [N].
            next_obs: [N, ...] what they show now, already of the next episode where one ended.
            finals: (position, last observation) of every episode that ended.
            level: [N], of the curriculum.
        """
        row, slot = self.end, self.end % self.rows
        if row - self.rows >= self._first:
            self._lose(row - self.rows, slot)
        write_at(self._obs_np, (row + 1) % (self.rows + 1), next_obs)
        self._action_np[slot], self._reward[slot], self._level[slot] = action, reward, level
        self._terminated[slot], self._truncated[slot] = terminated, truncated
        for env, final in finals:
            self._finals[row, env] = tree_map(stored, final, self._sample)
        self._head = tree_map(np.array, next_obs)
        self.end += 1
        self.begin = max(self.begin, self.end - self.rows)

    @property
    def _sample(self) -> Any:
        """One observation, for its types."""
        return tree_map(lambda part: part[0, 0], self._obs_np)

    def observe(self, obs: Obs) -> None:
        """What the environments show before a step, [N, ...].

        Where one no longer shows what its last step led to, it was made anew in between (a resume that could not bring
        its episode back, an environment that was lost): the transition before counts as cut off there.
        """
        slot = self.end % (self.rows + 1)
        if self._head is not None:
            same = [new == old for new, old in zip(leaves(obs), leaves(self._head), strict=True)]
            if all(each.all() for each in same):
                return
            if self.end > self.begin:
                rows = np.logical_and.reduce([each.reshape(self.n_envs, -1).all(axis=1) for each in same])
                self._cut_off(np.flatnonzero(~rows).tolist(), slot)
        write_at(self._obs_np, slot, obs)

    def _cut_off(self, envs: list[int], slot: int) -> None:
        """Episodes of some environments count as cut off at the newest row, which led to what lies in `slot`."""
        last = (self.end - 1) % self.rows
        for env in envs:
            if not (self._terminated[last, env] or self._truncated[last, env]):
                self._truncated[last, env] = True
                self.corrected += 1
                self._finals[self.end - 1, env] = tree_map(
                    lambda part, env=env: np.array(part[slot, env]), self._obs_np
                )

    def _lose(self, row: int, slot: int) -> None:
        """The ring comes round to a slot: what lies there goes."""
        if self._overwritten is not None and row >= self._settled[0]:
            self._overwritten.append((row, self.columns(row, row + 1)))
        ended = self._terminated[slot] | self._truncated[slot]
        self.since[ended] = np.maximum(self.since[ended], row + 1)
        for env in np.flatnonzero(ended).tolist():
            self._finals.pop((row, env), None)

    def forget(self) -> None:
        """Nothing that is there is sampled any more."""
        row, env = self.ends(self.begin, self.end)
        np.maximum.at(self.since, env, row + 1)
        self.begin = self.end

    # -- sampling ------------------------------------------------------------------------------------------------

    def positions(self, uniform_B: np.ndarray) -> Sampled:
        """Positions for numbers in [0, 1), each transition equally likely."""
        flat = (uniform_B * len(self)).astype(np.int64)
        return Sampled(self.begin + flat // self.n_envs, flat % self.n_envs)

    def steps(self, at: Sampled, n: int = 1) -> Steps:
        """Sampled transitions and up to `n` steps from each on (Sutton and Barto, n-step returns).

        A window ends where its episode does and at the newest row, and leads to what that step led to.
        """
        reward, length, last = self._windows(at, n)
        return Steps(
            self._gather(self._obs, at.row % (self.rows + 1), at.env),
            self._gather(self._action, at.row % self.rows, at.env),
            reward,
            length,
            self._next_obs(last, at.env),
            self._terminated[last % self.rows, at.env],
        )

    def _windows(self, at: Sampled, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rewards and lengths of windows, see `Steps`, and their last rows."""
        slot, length = at.row % self.rows, np.ones(len(at.row), dtype=np.int64)
        first = self._reward[slot, at.env]
        if n == 1:
            return first[:, None], length, at.row
        reward = np.zeros((len(at.row), n))
        reward[:, 0] = first
        going = ~self._done(slot, at.env)
        for i in range(1, n):
            row = at.row + i
            going &= row < self.end
            slot = row % self.rows
            reward[:, i] = np.where(going, self._reward[slot, at.env], 0.0)
            length += going
            going &= ~self._done(slot, at.env)
        return reward, length, at.row + length - 1

    def ends(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Where episodes ended in some rows: their rows, in order, and environments."""
        done = read(self._terminated, begin, end) | read(self._truncated, begin, end)
        row, env = np.nonzero(done)
        return begin + row, env

    def levels(self, at: Sampled) -> np.ndarray:
        """[B] the curriculum's level at each transition."""
        found: np.ndarray = self._level[at.row % self.rows, at.env]
        return found

    def led_to(self, at: Sampled) -> Any:
        """[B, ...] what each transition led to."""
        return self._next_obs(at.row, at.env)

    def _done(self, slot: np.ndarray, env: np.ndarray) -> np.ndarray:
        done: np.ndarray = self._terminated[slot, env] | self._truncated[slot, env]
        return done

    def _gather(self, tree: Any, slot: np.ndarray, env: np.ndarray) -> Any:
        """Rows of memory that torch has allocated: where an array begins may change the last bits of a product."""
        index = torch.from_numpy(slot * self.n_envs + env)
        return tree_map(lambda part: part.index_select(0, index), tree)

    def _next_obs(self, row: np.ndarray, env: np.ndarray) -> Any:
        found = self._gather(self._obs, (row + 1) % (self.rows + 1), env)
        found_np = tree_map(Tensor.numpy, found)
        for i in np.flatnonzero(self._done(row % self.rows, env)).tolist():
            write_at(found_np, i, self._finals[int(row[i]), int(env[i])])
        return found

    # -- state ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where it stands; the rows themselves are in `pieces`."""
        where = {"begin": self.begin, "end": self.end, "n_envs": self.n_envs}
        return where | {"head": self._head, "since": self.since.copy()}

    def pieces(self) -> Iterator[Rows]:
        """Files that together hold every row, oldest first. Each holds whole rows of one segment of the run.

        A complete segment is as it will be: its last row is followed by another, so that nothing can be said of it any
        more.
        """
        size = self.segment_rows
        for first in range(self.begin - self.begin % size if len(self) else self.end, self.end, size):
            complete = first + size < self.end
            name = f"{first:012d}_{first + size:012d}" if complete else "tail"
            yield Rows(name, max(first, self.begin), min(first + size, self.end), complete, self)

    def _rings(self) -> dict[str, np.ndarray]:
        """The memory of every column by name, [slots, N, ...]; row k lies at k modulo the slots it has."""
        found = {
            "reward": self._reward,
            "terminated": self._terminated,
            "truncated": self._truncated,
            "level": self._level,
        }
        return found | {"action": self._action_np} | named("obs", self._obs_np)

    def columns(self, begin: int, end: int) -> dict[str, np.ndarray]:
        """Rows of the ring by column, [rows, N, ...]; `finals` are the observations that episodes ended with in them,
        by `final_row` and `final_env`."""
        found = {name: read(ring, begin, end) for name, ring in self._rings().items()}
        ended = np.argwhere(found["terminated"] | found["truncated"])
        keys = [(begin + int(row), int(env)) for row, env in ended]
        found["final_row"] = np.array([row for row, _ in keys], dtype=np.int64)
        found["final_env"] = np.array([env for _, env in keys], dtype=np.int64)
        if keys:
            finals = [self._finals[key] for key in keys]
            found |= named("finals", tree_map(lambda *parts: np.stack(parts), *finals))
        return found

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what a checkpoint holds, with its rows in `state["pieces"]`: (begin, end, columns) of each file.

        Where this ring has fewer rows, the newest are kept.
        """
        if state["n_envs"] != self.n_envs:
            raise ValueError(f"the checkpoint's replay is of {state['n_envs']} environments, not {self.n_envs}.")
        self.end = int(state["end"])
        self._first = self.begin = max(int(state["begin"]), self.end - self.rows)
        self._finals, self.corrected = {}, self.corrected + 1
        self._head = None if state["head"] is None else tree_map(copied, state["head"])
        with ThreadPoolExecutor(
            min(len(os.sched_getaffinity(0)), 4)
        ) as pool:  # copying takes memory's time, not Python's
            list(
                pool.map(
                    lambda piece: self._take(max(piece[0], self.begin), piece[1], piece[0], piece[2]), state["pieces"]
                )
            )
        # Where it is not known when an episode began, it counts as one that began before.
        self.since = copied(state["since"]) if "since" in state else np.full(self.n_envs, -1 if state["begin"] else 0)
        if self._head is not None:
            write_at(self._obs_np, self.end % (self.rows + 1), self._head)

    def _take(self, begin: int, end: int, first: int, columns: dict[str, np.ndarray]) -> None:
        if begin >= end:
            return
        for name, ring in self._rings().items():
            write(ring, begin, columns[name][begin - first : end - first])
        for i, (row, env) in enumerate(zip(columns["final_row"], columns["final_env"], strict=True)):
            if row >= begin:
                self._finals[int(row), int(env)] = unnamed("finals", columns, i, self._obs)

    # -- back to a boundary ----------------------------------------------------------------------------------------

    def settle(self) -> None:
        """This is a boundary: `roll_back` comes back here. What the ring loses from here on is kept aside."""
        self._overwritten = []
        self._settled = (self.begin, self.end, self._head, self.since.copy())

    def roll_back(self) -> None:
        """Be again what it was at the last boundary."""
        if self._overwritten is None:
            return
        self.begin, self.end, self._head, since = self._settled
        self.since, self.corrected = since.copy(), self.corrected + 1
        self._finals = {key: final for key, final in self._finals.items() if key[0] < self.end}
        for row, kept in reversed(self._overwritten):
            self._take(row, row + 1, row, kept)
        self._overwritten = []
        if self._head is not None:
            write_at(self._obs_np, self.end % (self.rows + 1), self._head)
