"""The base of strategies that give every level a weight."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lit_rl.curriculum.choice import Weighted, weighted
from lit_rl.curriculum.rules.bound import whole_number
from lit_rl.curriculum.strategies.strategy import Strategy
from lit_rl.curriculum.success import success_of
from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError
from lit_rl.ops.limits import between, check_value


class Sampler(Strategy):
    """Draws the level of every episode by weights, which derive from how often each level succeeded of late.

    A sampler of your own needs `weights` alone, and its own state if it has any. The probability of level i of n is
    ``(1 - uniform) * weight_i / sum(weights) + uniform / n``; where all weights are 0, it is 1/n.

    window: of the last episodes of each level, over which its success rate is taken.
    uniform: share of the episodes that is drawn from all levels alike, so that none is forgotten.
    success_at: an episode is a success at this return or above; null: as the environment says.
    """

    NEEDS_SUCCESS: ClassVar[bool] = True
    """Whether the weights need the success of every episode; without, it is only logged where it is known."""

    window: int = 50
    uniform: float = 0.0
    success_at: float | None = None

    def __init__(self, window: int = 50, uniform: float = 0.0, success_at: float | None = None) -> None:
        self.window = whole_number("window", window)
        check_value(uniform, float, "uniform", between(0.0, 1.0))
        check_value(success_at, float | None, "success_at")
        self.uniform, self.success_at = float(uniform), success_at

    @abstractmethod
    def weights(self) -> list[float]:
        """One for each level, in their order, from 0 on; they need not sum to 1. It depends on the state alone."""

    def rate(self, level: int) -> float | None:
        """The success rate over the level's window; `None` before there is any."""
        values = self._values[level]
        return math.fsum(values) / len(values) if values else None

    def reset(self) -> None:
        """Begin with empty windows."""
        self._values: list[deque[float]] = [deque(maxlen=self.window) for _ in self.names]
        self._episodes = [0] * len(self.names)
        self._probabilities: list[float] | None = None
        self._choice: Weighted | None = None
        self._chosen_by: list[float] | None = None

    def record(self, outcomes: Sequence[Episode]) -> None:
        """Add the episodes to the windows of their levels."""
        for outcome in outcomes:
            success = self.success(outcome)
            if success is not None:
                self._values[outcome.level].append(success)
            self._episodes[outcome.level] += 1
        self._probabilities = None

    def success(self, outcome: Episode) -> float | None:
        """1.0 or 0.0; `None` where it is not known and not needed."""
        if self.success_at is not None:
            return float(outcome.ret >= self.success_at)
        if outcome.success is None and not self.NEEDS_SUCCESS:
            return None
        return success_of(outcome, f"sample: {self.NAME or type(self).__name__}", "give success_at")

    def probabilities(self) -> list[float]:
        """Of the levels, in their order."""
        if self._probabilities is None:
            weights = self._checked(self.weights())
            n, total = len(weights), math.fsum(weights)
            shares = [weight / total for weight in weights] if total > 0.0 else [1.0 / n] * n
            self._probabilities = [(1.0 - self.uniform) * share + self.uniform / n for share in shares]
        return self._probabilities

    def _checked(self, weights: Sequence[float]) -> Sequence[float]:
        who = f"{self.key}: the weights of {self.NAME or type(self).__name__}"
        if len(weights) != len(self.names):
            raise ConfigError(f"{who} are {len(weights)} and the levels {len(self.names)}; give one for each level.")
        for name, weight in zip(self.names, weights, strict=True):
            if not 0.0 <= weight < math.inf:
                raise ConfigError(f"{who} have {weight!r} for '{name}'; a weight is a finite number of at least 0.")
        return weights

    def choice(self) -> Weighted:
        """Drawn by `probabilities`."""
        if self._choice is None or self._chosen_by is not self.probabilities():
            new = weighted(self.probabilities())
            if self._choice != new:
                self._choice = new
            self._chosen_by = self.probabilities()
        return self._choice

    def metrics(self) -> dict[str, float]:
        """Of every level: its probability, its success rate once there is one, its episodes."""
        metrics: dict[str, float] = {}
        for i, name in enumerate(self.names):
            metrics[f"probability/{name}"] = self.probabilities()[i]
            rate = self.rate(i)
            if rate is not None:
                metrics[f"success_rate/{name}"] = rate
            metrics[f"episodes/{name}"] = float(self._episodes[i])
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Window and number of episodes of every level."""
        return {
            "levels": {
                name: {"values": list(self._values[i]), "episodes": self._episodes[i]}
                for i, name in enumerate(self.names)
            }
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`."""
        self.reset()
        for i, name in enumerate(self.names):
            if name in state["levels"]:
                saved = state["levels"][name]
                self._values[i].extend(saved["values"])
                self._episodes[i] = saved["episodes"]
