"""All levels alike."""

from __future__ import annotations

from typing import ClassVar

from lit_rl.curriculum.strategies.sampler import Sampler


class UniformSampler(Sampler):
    """Every level is as likely as any other: domain randomisation over the levels, what all others are measured by.

    window: of the last episodes of each level, over which its success rate is logged.
    success_at: an episode is a success at this return or above; null: as the environment says, where it does.
    """

    NAME: ClassVar[str] = "uniform"
    NEEDS_SUCCESS: ClassVar[bool] = False

    def __init__(self, window: int = 50, success_at: float | None = None) -> None:
        super().__init__(window, 0.0, success_at)

    def weights(self) -> list[float]:
        """1 for each."""
        return [1.0] * len(self.names)
