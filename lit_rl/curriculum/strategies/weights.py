"""Levels by weights that stand in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from lit_rl.curriculum.strategies.per_level import check_per_level, per_level
from lit_rl.curriculum.strategies.sampler import Sampler
from lit_rl.errors import ConfigError
from lit_rl.ops.limits import at_least


class WeightsSampler(Sampler):
    """Every level by a weight of its own, which stays.

    weights: by the names of the levels, or a list in their order. They need not sum to 1; a level of 0 is never played.
    window: of the last episodes of each level, over which its success rate is logged.
    uniform: share of the episodes that is drawn from all levels alike.
    success_at: an episode is a success at this return or above; null: as the environment says, where it does.
    """

    NAME: ClassVar[str] = "weights"
    NEEDS_SUCCESS: ClassVar[bool] = False

    def __init__(
        self,
        weights: Mapping[str, float] | Sequence[float],
        window: int = 50,
        uniform: float = 0.0,
        success_at: float | None = None,
    ) -> None:
        super().__init__(window, uniform, success_at)
        check_per_level(weights, "weights", at_least(0.0))
        if not any(weights.values() if isinstance(weights, Mapping) else weights):
            raise ConfigError("weights: all are 0, so no level would be played; give one of them more.")
        self.given = weights

    def begin(self, names: Sequence[str], n_envs: int, run_seed: int) -> None:
        """Also checks the names that the weights are given by."""
        self._weights = per_level(self.given, names, "weights")
        super().begin(names, n_envs, run_seed)

    def weights(self) -> list[float]:
        """As they were given."""
        return self._weights
