"""The one loop over slots: environments that are stepped one after the other, in whatever process they are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.curriculum.assignment import Assignment
from lit_rl.data.episode import Episode
from lit_rl.envs.failures import EnvironmentLost
from lit_rl.envs.slot import Slot
from lit_rl.ops.tree import Obs, tree_map, write_at


@dataclass
class Arrays:
    """What all environments of a rank send, each at its position. Shapes: N environments.

    Args:
        obs: [N, ...].
        reward: float64 [N].
        terminated, truncated: bool [N].
        episode: int64 [N], index of the episode going on.
        level: int64 [N], index of the curriculum's level that it is played on.
        mask: bool [N, M], which actions are allowed; `None` where environments do not say.
        resting: bool [N], which are not stepped for now.
    """

    obs: Obs
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    episode: np.ndarray
    level: np.ndarray
    mask: np.ndarray | None
    resting: np.ndarray

    @classmethod
    def zeros(cls, space: spaces.Space[Any], n: int, flags_of_mask: int = 0) -> Arrays:
        """For n environments that send observations of `space`, none of which has begun an episode."""
        flags = np.zeros((3, n), dtype=np.bool_)
        episode, level = np.full(n, -1), np.zeros(n, dtype=np.int64)
        mask = np.ones((n, flags_of_mask), dtype=np.bool_) if flags_of_mask else None
        return cls(_zeros(space, n), np.zeros(n), flags[0], flags[1], episode, level, mask, flags[2])

    def rest(self, resting: np.ndarray) -> None:
        """Let environments rest, bool [N], and no others; they show what they showed, and send nothing."""
        self.resting[:] = resting
        self.reward[resting], self.terminated[resting], self.truncated[resting] = 0.0, False, False


def _zeros(space: spaces.Space[Any], n: int) -> Obs:
    if isinstance(space, spaces.Dict):
        return {key: _zeros(part, n) for key, part in space.spaces.items()}  # type: ignore[misc]
    return np.zeros((n, *(space.shape or ())), dtype=space.dtype)


def copy_obs(batch: Obs, i: int) -> Any:
    """One environment's observation, as a copy."""
    return tree_map(lambda part: part[i].copy(), batch)


class Block:
    """Environments that are stepped together. What it does to them is the same to the bit in every process.

    Args:
        slots: by position in the arrays.
        arrays: of all environments of the rank; the block writes at its own positions.
        note: called with the position of the environment that is worked on next, by whom that must be known.
    """

    def __init__(self, slots: Mapping[int, Slot], arrays: Arrays, note: Callable[[int], None] | None = None) -> None:
        self._slots, self._arrays, self._note = slots, arrays, note
        self.lost: list[tuple[int, EnvironmentLost]] = []
        """(position, error) of every environment that was lost in the last step or beginning after a loss, in order.
        Each but the last was made anew; the last was too, unless its error was raised.
        """

    def assign(self, assignment: Assignment) -> None:
        """What episodes that begin from here on are played on."""
        for slot in self._slots.values():
            slot.tasks.assignment = assignment

    def begin(self) -> None:
        """Begin the next episode everywhere."""
        for i, slot in self._slots.items():
            if self._note is not None:
                self._note(i)
            self._has_begun(i, slot, slot.begin())

    def begin_after_loss(self, allowed: int) -> None:
        """Begin, in the place of a block whose process was lost, the episodes after those that it was in.

        Args:
            allowed: how many restarts there may be of environments that cannot begin.

        Raises:
            EnvironmentLost: as `step`.
        """
        for i, slot in self._slots.items():
            slot.episode = int(self._arrays.episode[i])
            self._arrays.episode[i] += 1  # before it begins: one that ends the process as it begins is not tried twice
        self.lost = []
        for i, slot in self._slots.items():
            if self._note is not None:
                self._note(i)
            try:
                obs = slot.begin()
            except EnvironmentLost as error:
                obs = self._make_anew(i, slot, error, allowed)
            self._has_begun(i, slot, obs)

    def _has_begun(self, i: int, slot: Slot, obs: Any) -> None:
        write_at(self._arrays.obs, i, obs)
        self._show_mask(i, slot)
        self._arrays.episode[i], self._arrays.level[i] = slot.episode, slot.level
        slot.take_finished()

    def _show_mask(self, i: int, slot: Slot) -> None:
        if self._arrays.mask is not None:
            self._arrays.mask[i] = slot.mask

    def step(self, actions: np.ndarray, allowed: int) -> tuple[list[tuple[int, Any]], list[Episode]]:
        """Step every environment that does not rest, and make anew those that are lost.

        Args:
            actions: [N, ...] of all environments of the rank.
            allowed: how many restarts there may be.

        Returns:
            (position, last observation) of every episode that ended, and the episodes finished below all wrappers.

        Raises:
            EnvironmentLost: one was lost and must not be made anew; `lost` says what came before.
        """
        arrays, note = self._arrays, self._note
        batch, reward, masks = arrays.obs, arrays.reward, arrays.mask  # looked up once: this loop is run at every step
        all_terminated, all_truncated, resting = arrays.terminated, arrays.truncated, arrays.resting
        finals: list[tuple[int, Any]] = []
        episodes: list[Episode] = []
        self.lost = []
        for i, slot in self._slots.items():
            if resting[i]:
                continue
            if note is not None:
                note(i)
            try:
                obs, reward[i], terminated, truncated, final = slot.step(actions[i])
            except EnvironmentLost as error:
                final = copy_obs(batch, i)
                obs = self._make_anew(i, slot, error, allowed)
                reward[i], terminated, truncated = 0.0, False, True
            write_at(batch, i, obs)
            if masks is not None:
                masks[i] = slot.mask
            all_terminated[i] = terminated
            all_truncated[i] = truncated
            if final is not None:
                arrays.episode[i], arrays.level[i] = slot.episode, slot.level
                finals.append((i, final))
                episodes += slot.take_finished()
        return finals, episodes

    def _make_anew(self, i: int, slot: Slot, error: EnvironmentLost, allowed: int) -> Any:
        """Make an environment anew, as often as it takes; returns the first observation of its next episode."""
        while True:
            self.lost.append((i, error))
            if len(self.lost) > allowed:
                raise error
            if self._note is not None:
                self._note(i)  # each restart has the time that a step has
            try:
                return slot.restart()
            except EnvironmentLost as again:
                error = again

    def capture(self) -> list[dict[str, Any]]:
        """State of every environment, plain values and arrays."""
        states = []
        for i, slot in self._slots.items():
            if self._note is not None:
                self._note(i)
            states.append(slot.capture().to_plain())
        return states

    def restore(self, states: list[dict[str, Any]]) -> list[int]:
        """Bring every environment back; returns the positions of those that began their next episode instead."""
        lost = []
        for (i, slot), state in zip(self._slots.items(), states, strict=True):
            if self._note is not None:
                self._note(i)
            obs, exact = slot.restore_plain(state)
            write_at(self._arrays.obs, i, obs)
            self._show_mask(i, slot)
            self._arrays.episode[i], self._arrays.level[i] = slot.episode, slot.level
            if not exact:
                lost.append(i)
                if slot.gave_up is not None:
                    said = f"the episode in flight could not be played again and is given up: {slot.gave_up}"
                    print(f"WARNING: {said}", file=sys.stderr, flush=True)
        return lost

    def close(self) -> None:
        """End the environments."""
        for slot in self._slots.values():
            slot.close()
