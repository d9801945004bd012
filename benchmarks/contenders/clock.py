"""The clock that all contenders run: from the end of the first unit that learned to the end of the last."""

from __future__ import annotations

import time

from contenders.works import Work


class Clock:
    """Told how far a contender is; what lies before `work.first` units is warm-up.

    Args:
        work: what is done.
        units: how many are measured.
    """

    def __init__(self, work: Work, units: int) -> None:
        self._begin = work.first * work.unit
        self.target = (work.first + units) * work.unit
        self._moments: list[tuple[float, int]] = []

    def tick(self, timesteps: int) -> None:
        """So many timesteps have been played and learned from."""
        if timesteps >= self._begin:
            self._moments[1:] = [(time.perf_counter(), timesteps)]

    @property
    def measured(self) -> tuple[int, float]:
        """Timesteps and the seconds they took."""
        (start, before), (end, after) = self._moments
        return after - before, end - start
