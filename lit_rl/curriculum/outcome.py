"""What a finished episode tells the curriculum."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EpisodeOutcome:
    """One finished episode.

    The outcomes of an iteration are handed over in the order (step in the rollout, environment index), which
    is the same for any number of ranks.

    env_index: global index of the environment, 0 to n_envs - 1.
    level: index of the level the episode was played on, from its reset to its end.
    ret: undiscounted return, in the environment's own rewards.
    length: timesteps of the episode.
    success: the final `info["is_success"]`, or None when the environment gives none.
    """

    env_index: int
    level: int
    ret: float
    length: int
    success: bool | None = None
