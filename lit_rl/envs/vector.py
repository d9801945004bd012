"""Many environments as one: what every backend does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from gymnasium import spaces

from lit_rl.curriculum.assignment import Assignment
from lit_rl.data.episode import Episode
from lit_rl.envs.failures import Restart
from lit_rl.envs.raw import OwnSpaces
from lit_rl.ops.tree import Obs

Grade = Literal["exact", "boundary"]
"""How much of an episode in flight a checkpoint can bring back: all of it, or its next episode's start."""


@dataclass
class StepResult:
    """One step of all environments. Shapes: N environments of this rank.

    Args:
        obs: [N, ...] observations, already of the next episode where one ended. Valid until the next step.
        reward: float64 [N].
        terminated, truncated: bool [N].
        finals: (position, last observation) of every episode that ended with this step.
        episodes: finished episodes of the environments below all wrappers, in the order of their positions.
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
    """The environments of one rank. At position i stands the one with environment index ``offset + i``."""

    n_envs: int
    offset: int
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    own_spaces: OwnSpaces
    """Of one environment, below the wrappers that the run adds."""
    grade: Grade
    own_streams: bool
    """Whether each environment has global random streams of its own."""
    why: str
    """Why this backend was chosen, in words; empty where it was asked for."""

    @property
    def levels(self) -> np.ndarray:
        """int64 [N], index of the curriculum's level that each environment's episode is played on; do not write."""

    @property
    def masks(self) -> np.ndarray | None:
        """bool [N, M], which actions each environment allows now (`envs.masks`); `None` where they do not say."""

    def assign(self, assignment: Assignment) -> None:
        """What the curriculum says from now on; each environment takes its task from it at its next true reset."""

    def reset(self) -> Obs:
        """Begin the next episode everywhere."""

    def step(self, actions: np.ndarray) -> StepResult:
        """Step every environment; episodes that end begin anew in the same step."""

    def rest(self, resting: np.ndarray) -> None:
        """From here on step only the others: bool [N]. Those that rest show what they showed, and send nothing.

        Raises:
            ConfigError: this backend steps all or none.
        """

    def settle(self) -> list[Restart]:
        """An iteration has ended: make anew what was lost since the last step, where that is wanted.

        The observations given last then show the new episodes.
        """

    def capture(self) -> list[dict[str, Any]]:
        """State of every environment, plain values and arrays."""

    def restore(self, states: list[dict[str, Any]]) -> tuple[Obs, list[int]]:
        """Bring every environment back.

        Returns:
            the current observations, and the positions of those that could not be brought back and began their next
            episode.
        """

    def close(self) -> None:
        """End the environments and whatever runs them."""
