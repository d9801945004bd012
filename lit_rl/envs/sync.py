"""Environments that are stepped in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.curriculum.assignment import Assignment
from lit_rl.curriculum.levels import Level
from lit_rl.envs.block import Arrays, Block
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentLost, Restart, Restarts
from lit_rl.envs.masks import choices
from lit_rl.envs.raw import own_spaces
from lit_rl.envs.slot import Slot
from lit_rl.envs.vector import Grade, StepResult
from lit_rl.ops.tree import Obs


class SyncVectorEnv:
    """Steps the environments one after the other in this process.

    Args:
        config: how to make an environment.
        run_seed: the run's seed.
        indices: environment indices of this rank.
        stream: which family of seeds the episodes take.
        levels: of the run's curriculum; empty without one.
        key: what else tells this family of seeds from others.
        longest: steps after which an episode is cut off.
    """

    grade: Grade = "exact"
    own_streams = False
    why = ""

    def __init__(
        self,
        config: EnvConfig,
        run_seed: int,
        indices: range,
        stream: str = "episodes",
        levels: Sequence[Level] = (),
        key: tuple[int, ...] = (),
        longest: int | None = None,
    ) -> None:
        self.offset, self.n_envs = indices.start, len(indices)
        self._restarts = Restarts(config)
        slots: dict[int, Slot] = {}
        try:
            for i, index in enumerate(indices):
                slots[i] = Slot(config, run_seed, index, stream, levels, key, longest)
        except BaseException:
            for slot in slots.values():
                slot.close()
            raise
        self.observation_space: spaces.Space[Any] = slots[0].env.observation_space
        self.action_space: spaces.Space[Any] = slots[0].env.action_space
        self.own_spaces = own_spaces(slots[0].env)
        flags = sum(choices(self.action_space)) if config.action_masks else 0
        self._arrays = Arrays.zeros(self.observation_space, self.n_envs, flags)
        self._block = Block(slots, self._arrays)

    def assign(self, assignment: Assignment) -> None:
        self._block.assign(assignment)

    @property
    def levels(self) -> np.ndarray:
        return self._arrays.level

    @property
    def masks(self) -> np.ndarray | None:
        return self._arrays.mask

    def reset(self) -> Obs:
        self._block.begin()
        return self._arrays.obs

    def rest(self, resting: np.ndarray) -> None:
        self._arrays.rest(resting)

    def step(self, actions: np.ndarray) -> StepResult:
        arrays, restarts = self._arrays, []
        try:
            finals, episodes = self._block.step(actions.astype(self.action_space.dtype), self._restarts.allowed)
        except EnvironmentLost:
            self._restarts.count_all(self._block.lost)
            raise
        if self._block.lost:
            restarts = self._restarts.count_all(self._block.lost)
        return StepResult(arrays.obs, arrays.reward, arrays.terminated, arrays.truncated, finals, episodes, restarts)

    def settle(self) -> list[Restart]:
        self._restarts.iteration_ended()
        return []

    def capture(self) -> list[dict[str, Any]]:
        return self._block.capture()

    def restore(self, states: list[dict[str, Any]]) -> tuple[Obs, list[int]]:
        return self._arrays.obs, self._block.restore(states)

    def close(self) -> None:
        self._block.close()
