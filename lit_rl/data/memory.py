"""What a policy remembers of the episodes in flight."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


class Memory:
    """K numbers for each of N environments, which mean nothing where an episode starts.

    Args:
        n: environments of this rank.
        size: K.
    """

    def __init__(self, n: int, size: int) -> None:
        self.values = torch.zeros(n, size)
        """float32 [N, K]."""
        self.start = torch.ones(n, dtype=torch.bool)
        """bool [N], whether the observation that comes next starts an episode."""

    def forget(self, rows: Iterable[int]) -> None:
        """These environments begin an episode."""
        for row in rows:
            self.start[row] = True

    def state_dict(self) -> dict[str, Any]:
        return {"by_environment": {"values": self.values, "going_on": ~self.start}}  # dealt out to ranks by its name

    def load_state_dict(self, state: dict[str, Any]) -> None:
        values, going_on = (torch.as_tensor(state["by_environment"][key]) for key in ("values", "going_on"))
        assert values.shape == self.values.shape
        self.values, self.start = values.clone(), ~going_on
