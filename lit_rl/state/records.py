"""Small records of a run's state: what has been counted, seen and written so far."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lit_rl.data.episode import Episode

ENOUGH_EPISODES = 20
"""On a level, before their mean return is a score."""


@dataclass
class Counters:
    """What has been counted since the run began, over all ranks and segments.

    Args:
        timesteps: steps of single environments.
        iterations: rollouts with their updates.
        episodes: finished episodes.
        updates: passes over a rollout (SB3's `n_updates`).
        gradient_steps: steps of the optimizer.
        bad_updates: minibatches that were skipped because their loss or gradient was not finite.
        bad_updates_in_a_row: how many of these were the last ones.
        env_restarts: how often lost environments were made anew.
        refilled_at: timestep up to which a replay that began empty in mid-run fills, and nothing is learned.
    """

    timesteps: int = 0
    iterations: int = 0
    episodes: int = 0
    updates: int = 0
    gradient_steps: int = 0
    bad_updates: int = 0
    bad_updates_in_a_row: int = 0
    env_restarts: int = 0
    refilled_at: int = 0

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            setattr(self, key, value)


class EpisodeWindow:
    """The last 100 finished episodes, for `rollout/ep_rew_mean` and related metrics (SB3's `stats_window_size`)."""

    def __init__(self, size: int = 100) -> None:
        self._episodes: deque[Episode] = deque(maxlen=size)
        self._metrics: dict[str, float] | None = None

    def extend(self, episodes: list[Episode]) -> None:
        if episodes:
            self._episodes.extend(episodes)
            self._metrics = None

    @property
    def episodes(self) -> list[Episode]:
        """Those in the window, oldest first."""
        return [*self._episodes]

    @property
    def count(self) -> int:
        """Episodes in the window."""
        return len(self._episodes)

    def metrics(self) -> dict[str, float]:
        """Means over the window; empty before the first episode ends."""
        if self._metrics is None:
            self._metrics = self._means()
        return dict(self._metrics)

    def _means(self) -> dict[str, float]:
        if not self._episodes:
            return {}
        metrics = {
            "rollout/ep_rew_mean": float(np.mean([episode.ret for episode in self._episodes])),
            "rollout/ep_len_mean": float(np.mean([episode.length for episode in self._episodes])),
        }
        successes = [episode.success for episode in self._episodes if episode.success is not None]
        if successes:
            metrics["rollout/success_rate"] = float(np.mean(successes))
        return metrics

    def mean_return_on(self, level: int) -> float | None:
        """Mean return of the window's episodes on a level; `None` while they are too few to tell."""
        returns = [episode.ret for episode in self._episodes if episode.level == level]
        return float(np.mean(returns)) if len(returns) >= ENOUGH_EPISODES else None

    def state_dict(self) -> dict[str, Any]:
        return {"episodes": [[e.env_index, e.ret, e.length, e.success, e.level] for e in self._episodes]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._episodes.clear()
        self._episodes.extend(Episode(*values) for values in state["episodes"])
        self._metrics = None


@dataclass
class Evaluated:
    """The last evaluation of the run.

    Args:
        timesteps: when it was made; `None` before the first.
        reward: its mean return.
        level: of the curriculum, where it was made on the current one; else 0.
    """

    timesteps: int | None = None
    reward: float | None = None
    level: int = 0

    def take(self, timesteps: int, reward: float, level: int) -> None:
        """Another evaluation was made."""
        self.timesteps, self.reward, self.level = timesteps, reward, level

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.timesteps, self.reward, self.level = state["timesteps"], state["reward"], state["level"]


@dataclass
class Best:
    """The best score so far, by which the `best` checkpoint is chosen. A score on a later level is always better.

    Args:
        score: its value; `None` before there is one.
        timesteps: when it was reached.
        level: the curriculum's level it belongs to; 0 where all scores compare.
    """

    score: float | None = None
    timesteps: int | None = None
    level: int = 0

    def offer(self, score: float | None, timesteps: int, level: int = 0) -> bool:
        """Take `score` if it is the best so far; says whether it is."""
        if score is None or not np.isfinite(score):
            return False
        if self.score is not None and (level, score) <= (self.level, self.score):
            return False
        self.score, self.timesteps, self.level = float(score), timesteps, level
        return True

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.score, self.timesteps, self.level = state["score"], state["timesteps"], state["level"]


@dataclass
class LogBook:
    """How far the run's log files had come, so that a resumed run cuts what came after and goes on from there.

    Args:
        marks: position by logger, as it gives it.
        seconds: time spent training in this and earlier segments.
        latest: the last value of every metric, of training or evaluation, for callbacks; those of time are left out.
    """

    marks: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    latest: dict[str, float] = field(default_factory=dict)

    def note(self, metrics: dict[str, float]) -> None:
        """Take in the metrics of an iteration."""
        self.latest |= {name: float(value) for name, value in metrics.items() if not name.startswith("time/")}

    def state_dict(self) -> dict[str, Any]:
        return {"marks": dict(self.marks), "seconds": self.seconds, "latest": dict(self.latest)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.marks, self.seconds = dict(state["marks"]), state["seconds"]
        self.latest = dict(state.get("latest", {}))  # earlier versions have none
