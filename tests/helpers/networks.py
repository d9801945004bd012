"""A features extractor of a user's own, with the class of its activation among its arguments; and an optimizer."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class Narrow(BaseFeaturesExtractor):
    """One layer."""

    def __init__(
        self, observation_space: Any, features_dim: int = 8, activation_fn: Any = nn.Tanh, bias: bool = True
    ) -> None:
        super().__init__(observation_space, features_dim)
        if features_dim > 64:
            raise ValueError("too wide for this test")
        self.net = nn.Sequential(nn.Linear(observation_space.shape[0], features_dim, bias=bias), activation_fn())

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.net(obs)
        return features


class Layerwise(torch.optim.SGD):
    """May treat each parameter as a whole, for all anybody knows."""
