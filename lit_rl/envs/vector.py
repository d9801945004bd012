"""Many environments as one: what every backend does, and the backend that steps them in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from lit_rl.curriculum.levels import Level
from lit_rl.data.episode import Episode
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentLost, Restart, Restarts
from lit_rl.envs.slot import Slot
from lit_rl.ops.tree import Obs, tree_map

Grade = Literal["exact", "boundary"]
"""How much of an episode in flight a checkpoint can bring back: all of it, or its next episode's start."""


@dataclass
class StepResult:
    """One step of all environments. Shapes: N environments of this rank.

    Args:
        obs: [N, ...] observations, already of the next episode where one ended. Valid until the next step.
        reward: float64 [N].
        terminated, truncated: bool [N].
        finals: (row, last observation) of every episode that ended with this step.
        episodes: finished episodes of the environments below all wrappers, in row order.
        restarts: environments that were lost and made anew. For them the step counts as truncated at the observation
            before it, with reward 0, and they are in their next episode.
    """

    obs: Obs
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    finals: list[tuple[int, Any]]
    episodes: list[Episode]
    restarts: list[Restart] = field(default_factory=list)


class VectorEnv(Protocol):
    """The environments of one rank. Row i is the environment with global index ``offset + i``."""

    n_envs: int
    offset: int
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    grade: Grade

    def set_level(self, level: int) -> None:
        """Make `level` the curriculum's current one; each environment takes it at its next true reset."""

    def reset(self) -> Obs:
        """Begin the next episode everywhere."""

    def step(self, actions: np.ndarray) -> StepResult:
        """Step every environment; episodes that end begin anew in the same step."""

    def settle(self) -> list[Restart]:
        """An iteration has ended: make anew what was lost since the last step, where that is wanted.

        The observations given last then show the new episodes.
        """

    def capture(self) -> list[dict[str, Any]]:
        """State of every environment, plain values and arrays."""

    def restore(self, states: list[dict[str, Any]]) -> tuple[Obs, list[int]]:
        """Bring every environment back.

        Returns:
            the current observations, and the rows that could not be brought back and began their next episode.
        """

    def close(self) -> None:
        """End the environments and whatever runs them."""


def observation_batch(space: spaces.Space[Any], n: int) -> Obs:
    """Zeroed array(s) for the observations of n environments."""
    if isinstance(space, spaces.Dict):
        return {key: observation_batch(part, n) for key, part in space.spaces.items()}  # type: ignore[misc]
    return np.zeros((n, *(space.shape or ())), dtype=space.dtype)


def write_row(batch: Obs, row: int, obs: Any) -> None:
    """Put one environment's observation, which its slot has looked at, into its row of the batch."""
    if isinstance(batch, dict):
        for key, part in batch.items():
            part[row] = obs[key]
    else:
        batch[row] = obs


def copy_row(batch: Obs, row: int) -> Any:
    """One environment's observation, as a copy."""
    return tree_map(lambda part: part[row].copy(), batch)


class SyncVectorEnv:
    """Steps the environments one after the other in this process."""

    grade: Grade = "exact"

    def __init__(
        self,
        config: EnvConfig,
        run_seed: int,
        rows: range,
        stream: str = "episodes",
        levels: Sequence[Level] = (),
        key: tuple[int, ...] = (),
    ) -> None:
        self.offset, self.n_envs = rows.start, len(rows)
        self._restarts = Restarts(config)
        self._slots: list[Slot] = []
        try:
            for index in rows:
                self._slots.append(Slot(config, run_seed, index, stream, levels, key))
        except BaseException:
            self.close()
            raise
        self.observation_space: gym.Space[Any] = self._slots[0].env.observation_space
        self.action_space: gym.Space[Any] = self._slots[0].env.action_space
        self._obs = observation_batch(self.observation_space, self.n_envs)
        self._reward = np.zeros(self.n_envs)
        self._terminated = np.zeros(self.n_envs, dtype=np.bool_)
        self._truncated = np.zeros(self.n_envs, dtype=np.bool_)

    def set_level(self, level: int) -> None:
        for slot in self._slots:
            slot.curriculum_level = level

    def reset(self) -> Obs:
        for row, slot in enumerate(self._slots):
            write_row(self._obs, row, slot.begin())
            slot.take_finished()
        return self._obs

    def step(self, actions: np.ndarray) -> StepResult:
        actions = actions.astype(self.action_space.dtype)
        finals: list[tuple[int, Any]] = []
        episodes: list[Episode] = []
        restarts: list[Restart] = []
        for row, slot in enumerate(self._slots):
            try:
                obs, self._reward[row], terminated, truncated, final = slot.step(actions[row])
            except EnvironmentLost as error:
                final = copy_row(self._obs, row)
                obs, self._reward[row], terminated, truncated = self._restart(row, error, restarts), 0.0, False, True
            write_row(self._obs, row, obs)
            self._terminated[row] = terminated
            self._truncated[row] = truncated
            if final is not None:
                finals.append((row, final))
                episodes += slot.take_finished()
        return StepResult(self._obs, self._reward, self._terminated, self._truncated, finals, episodes, restarts)

    def _restart(self, row: int, error: EnvironmentLost, restarts: list[Restart]) -> Any:
        """Make an environment anew; returns the first observation of its next episode."""
        while True:
            restart = Restart((row,), str(error))
            self._restarts.count(restart, error)
            restarts.append(restart)
            try:
                return self._slots[row].restart()
            except EnvironmentLost as again:
                error = again

    def settle(self) -> list[Restart]:
        self._restarts.iteration_ended()
        return []

    def capture(self) -> list[dict[str, Any]]:
        return [slot.capture().to_plain() for slot in self._slots]

    def restore(self, states: list[dict[str, Any]]) -> tuple[Obs, list[int]]:
        lost = []
        for row, (slot, state) in enumerate(zip(self._slots, states, strict=True)):
            obs, exact = slot.restore_plain(state)
            write_row(self._obs, row, obs)
            if not exact:
                lost.append(row)
        return self._obs, lost

    def close(self) -> None:
        for slot in self._slots:
            slot.close()
