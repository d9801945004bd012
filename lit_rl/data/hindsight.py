"""Hindsight experience replay (Andrychowicz et al. 2017, arXiv:1707.01495): goals that were reached by chance.

Part of a batch is given another goal, one that the same episode came to, and the reward that this would have earned.
Only transitions of episodes that have ended are sampled, as stable-baselines3 does it. Shapes: B a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.data.config import HindsightReplay
from lit_rl.data.replay import Replay, Sampled, Steps
from lit_rl.errors import ConfigError

ACHIEVED, DESIRED = "achieved_goal", "desired_goal"

GoalReward = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Rewards [K] for what was achieved [K, ...], what was desired [K, ...], and the level [K] of each."""


def check_alone(prioritized: bool, n_steps: int, draws: bool) -> None:
    """Refuse what hindsight does not go with: `draws`: whether a curriculum draws values for each episode.

    Raises:
        ConfigError: names the setting.
    """
    for name, clashes in (("prioritized_replay: true", prioritized), ("n_steps above 1", n_steps > 1)):
        if clashes:
            raise ConfigError(f"model.her takes single steps, each equally likely; remove it or model.{name}.")
    if draws:
        raise ConfigError("model.her works out rewards level by level, and the curriculum draws values; remove one.")


def check_goals(space: spaces.Space[Any]) -> None:
    """Refuse observations that name no goals.

    Raises:
        ConfigError: says what is missing.
    """
    names = list(space.spaces) if isinstance(space, spaces.Dict) else []
    missing = [name for name in (ACHIEVED, DESIRED) if name not in names]
    if missing:
        raise ConfigError(
            f"model.her needs Dict observations with {ACHIEVED} and {DESIRED}; this environment's have no "
            f"{missing[0]}. Remove model.her, or take a goal environment."
        )


@dataclass
class InEpisodes(Sampled):
    """Positions, and [B] the first and last rows of their episodes."""

    first: np.ndarray
    last: np.ndarray


class Hindsight:
    """Samples from a replay by episodes.

    Which episodes there are follows from the replay's rows, so that it is no state.

    Args:
        replay: of goal observations.
        config: see `HindsightReplay`.
        batch_size: B.
    """

    def __init__(self, replay: Replay, config: HindsightReplay, batch_size: int) -> None:
        self._replay, self._strategy = replay, config.goal_selection_strategy
        self.relabelled = int((1 - 1 / (config.n_sampled_goal + 1)) * batch_size)
        """Transitions of a batch that get another goal: its first ones."""
        self._seen = (-1, -1)
        """Corrections of the replay that are taken in, and the row after the newest that is."""
        self._since = replay.since
        self._first = self._last = self._env = self._total = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        """Transitions of ended episodes."""
        self._follow()
        return int(self._total[-1]) if len(self._total) else 0

    def positions(self, uniform_B: np.ndarray) -> InEpisodes:
        """Positions for numbers in [0, 1), each transition of an ended episode equally likely."""
        flat = (uniform_B * len(self)).astype(np.int64)
        episode = np.searchsorted(self._total, flat, side="right")
        first, last = self._first[episode], self._last[episode]
        return InEpisodes(last - (self._total[episode] - 1 - flat), self._env[episode], first, last)

    def relabel(self, steps: Steps, at: InEpisodes, uniform_K: np.ndarray, reward: GoalReward) -> None:
        """Give the first K transitions of a batch other goals and the rewards for them, in place.

        Whether an episode ended there stays as it was.

        Args:
            steps: of `at`, one step each.
            at: from `positions`.
            uniform_K: numbers in [0, 1).
            reward: of the environment.
        """
        K = len(uniform_K)
        row, env, first, last = at.row[:K], at.env[:K], at.first[:K], at.last[:K]
        begin = {"future": row, "episode": first, "final": last}[self._strategy]
        chosen = begin + (uniform_K * (last - begin + 1)).astype(np.int64)
        goal = self._replay.led_to(Sampled(chosen, env))[ACHIEVED]
        for obs in (steps.obs, steps.next_obs):
            obs[DESIRED][:K] = goal.to(obs[DESIRED].dtype)
        achieved = steps.next_obs[ACHIEVED][:K].numpy()
        desired = steps.next_obs[DESIRED][:K].numpy()
        steps.reward[:K, 0] = reward(achieved, desired, self._replay.levels(Sampled(row, env)))

    def _follow(self) -> None:
        """Take in episodes that have ended and let those go of which the beginning is gone."""
        replay = self._replay
        corrections, end = self._seen
        if corrections != replay.corrected or end < replay.begin:
            self._first = self._last = self._env = np.zeros(0, dtype=np.int64)
            self._since, end = replay.since.copy(), replay.begin
        changed = end < replay.end
        if changed:
            row, env = replay.ends(end, replay.end)
            first = self._begins(row, env)
            self._first, self._last = np.append(self._first, first), np.append(self._last, row)
            self._env = np.append(self._env, env)
        kept = self._first >= replay.begin
        if not kept.all():
            self._first, self._last, self._env = self._first[kept], self._last[kept], self._env[kept]
        if changed or not kept.all() or corrections != replay.corrected:
            self._total = np.cumsum(self._last - self._first + 1)
        self._seen = (replay.corrected, replay.end)

    def _begins(self, row: np.ndarray, env: np.ndarray) -> np.ndarray:
        """The first rows of episodes that ended at some rows of some environments, in order."""
        first = np.zeros_like(row)
        for i, (last, which) in enumerate(zip(row.tolist(), env.tolist(), strict=True)):
            first[i] = self._since[which]
            self._since[which] = last + 1
        return first
