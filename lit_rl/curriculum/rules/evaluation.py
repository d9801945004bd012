"""Leave a level when the evaluation beside the training passes a bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lit_rl.curriculum.rules.bound import Bound, whole_number
from lit_rl.curriculum.rules.rule import Rule
from lit_rl.errors import ConfigError, did_you_mean


class EvaluationRule(Rule):
    """Met when `metric` of the evaluations made at the level passes the bound.

    metric: `eval/mean_reward` or `eval/success_rate`.
    threshold: met at this value or above. Or
    below: met strictly under this value.
    patience: evaluations in a row at which the rule must be met. Here a check is one evaluation.
    """

    METRICS: ClassVar[tuple[str, ...]] = ("eval/mean_reward", "eval/success_rate")

    def __init__(
        self, metric: str, threshold: float | None = None, below: float | None = None, patience: int = 1
    ) -> None:
        if metric not in self.METRICS:
            raise ConfigError(
                f"metric: unknown {metric!r}; known are {', '.join(self.METRICS)}.{did_you_mean(metric, self.METRICS)}"
            )
        self.metric = metric
        self.bound = Bound(threshold, below)
        self.patience = whole_number("patience", patience)
        self.reset()

    def reset(self) -> None:
        """Begin without an evaluation."""
        self._met_in_a_row = 0

    def record_evaluation(self, metrics: Mapping[str, float]) -> None:
        """One check."""
        if self.metric not in metrics:
            raise ConfigError(
                f"curriculum: a rule waits for {self.metric}, and the evaluation gave only "
                f"{', '.join(metrics) or 'nothing'}; use one of these."
            )
        self._met_in_a_row = self._met_in_a_row + 1 if self.bound.met(float(metrics[self.metric])) else 0

    def due(self, timesteps_at_level: int) -> bool:
        """Whether the last `patience` evaluations were met."""
        return self._met_in_a_row >= self.patience

    def progress(self) -> dict[str, float]:
        """The evaluations met in a row; their values are logged by the evaluation itself."""
        return {"met_in_a_row": float(self._met_in_a_row)}

    def state_dict(self) -> dict[str, Any]:
        """The evaluations met in a row."""
        return {"met_in_a_row": self._met_in_a_row}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`."""
        self._met_in_a_row = state["met_in_a_row"]
