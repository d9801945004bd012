"""Features extractors of a user's own."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class Linear(BaseFeaturesExtractor):
    """One layer."""

    def __init__(self, space: Any, features_dim: int = 8) -> None:
        super().__init__(space, features_dim)
        self.net = nn.Linear(space.shape[0], features_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.net(x)
        return result


class Counting(Linear):
    """Keeps a count in PyTorch's extra state."""

    calls = 0

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": self.calls}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.calls = state["calls"]
