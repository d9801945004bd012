"""Leave a level when the mean over its last episodes passes a bound."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

from lit_rl.curriculum.rules.bound import Bound, whole_number
from lit_rl.curriculum.rules.rule import Rule
from lit_rl.curriculum.success import success_of
from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError, did_you_mean


class ThresholdRule(Rule):
    """Met when the mean of `metric` over the level's last `window` episodes passes the bound.

    metric: `ep_rew_mean` (return), `success_rate` (fraction with `info["is_success"]`) or `ep_len_mean`
        (timesteps).
    threshold: met at this mean or above. Or
    below: met strictly under this mean.
    window: number of last episodes averaged over.
    min_episodes: episodes the level must have seen first; null: `window`.
    patience: checks in a row at which the rule must be met. A check is one iteration.
    """

    METRICS: ClassVar[tuple[str, ...]] = ("ep_rew_mean", "success_rate", "ep_len_mean")

    def __init__(
        self,
        metric: str,
        threshold: float | None = None,
        below: float | None = None,
        window: int = 100,
        min_episodes: int | None = None,
        patience: int = 1,
    ) -> None:
        if metric not in self.METRICS:
            raise ConfigError(
                f"metric: unknown {metric!r}; known are {', '.join(self.METRICS)}.{did_you_mean(metric, self.METRICS)}"
            )
        self.metric = metric
        self.bound = Bound(threshold, below)
        self.window = whole_number("window", window)
        self.min_episodes = self.window if min_episodes is None else whole_number("min_episodes", min_episodes)
        self.patience = whole_number("patience", patience)
        self.reset()

    def reset(self) -> None:
        """Begin with an empty window."""
        self._values: deque[float] = deque(maxlen=self.window)
        self._episodes = 0
        self._met_in_a_row = 0

    def record(self, outcome: Episode) -> None:
        """Add the episode to the window."""
        self._values.append(self._value(outcome))
        self._episodes += 1

    def _value(self, outcome: Episode) -> float:
        if self.metric == "ep_rew_mean":
            return float(outcome.ret)
        if self.metric == "ep_len_mean":
            return float(outcome.length)
        return success_of(outcome, "a rule on success_rate", "use ep_rew_mean")

    def due(self, timesteps_at_level: int) -> bool:
        """One check: the mean is met, and was at the checks before as often as `patience` asks."""
        met = self._episodes >= self.min_episodes and self.bound.met(self._mean())
        self._met_in_a_row = self._met_in_a_row + 1 if met else 0
        return self._met_in_a_row >= self.patience

    def _mean(self) -> float:
        return math.fsum(self._values) / len(self._values)

    def progress(self) -> dict[str, float]:
        """The mean, once there is one, and the checks met in a row."""
        mean = {self.metric: self._mean()} if self._values else {}
        return {**mean, "met_in_a_row": float(self._met_in_a_row)}

    def state_dict(self) -> dict[str, Any]:
        """Window, episode count and checks met in a row."""
        return {
            "values": list(self._values),
            "episodes": self._episodes,
            "met_in_a_row": self._met_in_a_row,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`."""
        self._values = deque(state["values"], maxlen=self.window)
        self._episodes = state["episodes"]
        self._met_in_a_row = state["met_in_a_row"]
