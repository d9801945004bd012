"""Networks that begin anew in mid-run, while the replay stays (Nikishin et al. 2022, "The primacy bias")."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import Any

from lit_rl.errors import ConfigError

KEY = "model.param_resets"


class ParamResets:
    """Timesteps at which networks and optimizers begin anew (arXiv:2205.07802; `param_resets` of SBX).

    A reset is due at the first update at or past its timestep. Several that one update finds due are one.

    Args:
        timesteps: of the run, increasing, each below its target.
        target: of the run, in timesteps.

    Raises:
        ConfigError: they are not; names the first that is wrong.
    """

    def __init__(self, timesteps: list[int] | None, target: int) -> None:
        self._timesteps = list(timesteps or [])
        for before, after in pairwise(self._timesteps):
            if after <= before:
                raise ConfigError(f"{KEY}: {after} comes after {before}; give increasing timesteps.")
        if self._timesteps and self._timesteps[-1] >= target:
            raise ConfigError(
                f"{KEY}: {self._timesteps[-1]} is not below total_timesteps: {target}; remove it or train longer."
            )
        self.done = 0
        """Resets that have been done since the run began; also those that were done as one with a later one."""
        self._looked_at = 0

    def due(self, timesteps: int) -> bool:
        """Whether the networks begin anew at the update at this timestep of the run; asked once an update."""
        found = bisect_right(self._timesteps, timesteps) - bisect_right(self._timesteps, self._looked_at)
        self._looked_at = timesteps
        self.done += found
        return found > 0

    def skip(self, timesteps: int) -> None:
        """Those up to a timestep are not done: the run begins there."""
        self._looked_at = timesteps

    def __bool__(self) -> bool:
        """Whether there are any in this run."""
        return bool(self._timesteps)

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done, "looked_at": self._looked_at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done, self._looked_at = state["done"], state["looked_at"]
