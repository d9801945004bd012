"""The levels that succeed half of the time."""

from __future__ import annotations

from typing import ClassVar

from lit_rl.curriculum.strategies.sampler import Sampler


class LearnabilitySampler(Sampler):
    """By ``p (1 - p)``, where p is the success rate over a level's window: what is neither solved nor hopeless.

    A level without an episode counts as p = 0.5, so that it is tried. After Rutherford et al. 2024, *No Regrets:
    Investigating and Improving Regret Approximations for Curriculum Discovery* (2408.15099), who play half of the
    environments on the most learnable of sampled levels and half on random ones.

    window: of the last episodes of each level, over which p is taken.
    uniform: share of the episodes that is drawn from all levels alike.
    success_at: an episode is a success at this return or above; null: as the environment says.
    """

    NAME: ClassVar[str] = "learnability"

    def __init__(self, window: int = 50, uniform: float = 0.5, success_at: float | None = None) -> None:
        super().__init__(window, uniform, success_at)

    def weights(self) -> list[float]:
        """``p (1 - p)`` of each level."""
        rates = [self.rate(i) for i in range(len(self.names))]
        return [0.25 if rate is None else rate * (1.0 - rate) for rate in rates]
