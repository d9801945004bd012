"""A trained policy that acts: `lit_rl.load(path).predict(observation)`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.training.module import RLModule


@dataclass(frozen=True)
class Agent:
    """A policy with its moments and spaces; `predict` has the meaning of stable-baselines3's.

    Args:
        module: the algorithm it was trained with, with its networks and moments, on the CPU.
        path: what was opened: a checkpoint directory, a `.ckpt` or a stable-baselines3 zip.
        which: `best` or `last`, where a run directory was named and one of its checkpoints taken.
    """

    module: RLModule
    path: Path
    which: str | None = None

    @property
    def algorithm(self) -> str:
        """Name of the algorithm, such as `PPO`."""
        return type(self.module).__name__

    @property
    def timesteps(self) -> int:
        """How long it was trained: steps of single environments."""
        return self.module.counters.timesteps

    @property
    def n_stack(self) -> int:
        """Frames in an observation: more than 1 asks for an environment in `VecFrameStack(env, n_stack)`."""
        return self.module.env_config.n_stack

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Of one observation that `predict` takes, frames stacked."""
        return self.module.play.raw_spaces().observation_space

    @property
    def action_space(self) -> spaces.Space[Any]:
        """Of one action that `predict` gives."""
        return self.module.play.raw_spaces().action_space

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[np.ndarray, Any]:
        """Actions for raw observations; see `RLModule.predict`."""
        return self.module.predict(observation, state, episode_start, deterministic, action_masks)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Begin the stream anew from which `predict` draws; `None` takes a seed of the system's."""
        self.module.predict_rng = np.random.default_rng(seed)

    def __str__(self) -> str:
        taken = "" if self.which is None else f" ({self.which} checkpoint)"
        return f"{self.algorithm} of {self.timesteps:,} timesteps from {self.path}{taken}"
