"""What a gradient step of an off-policy algorithm learns from. Shapes: B a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from lit_rl.data.replay import Sampled


@dataclass
class Transitions:
    """A batch as the targets take it, on the learner's device.

    Args:
        obs, next_obs: [B, ...] as the policy sees them.
        action: [B, ...] as it was stored.
        reward: [B] of the whole window, normalised and discounted.
        discount: [B] of the value of `next_obs`; 0 where the episode ended for good.
        at: where they lie in the replay.
        weight: [B] of each in the critics' loss; `None` where all are equal.
    """

    obs: Any
    action: Tensor
    reward: Tensor
    next_obs: Any
    discount: Tensor
    at: Sampled
    weight: Tensor | None = None

    def split(self, size: int) -> Iterator[Transitions]:
        """Batches of so many, one after the other."""
        if len(self.reward) == size:
            yield self
            return
        trees = (self.obs, self.action, self.reward, self.next_obs, self.discount)
        weights = repeat(None) if self.weight is None else torch.split(self.weight, size)
        rows, envs = self.at.row.reshape(-1, size), self.at.env.reshape(-1, size)
        parts = zip(*(parts_of_tree(tree, size) for tree in trees), strict=True)
        for (obs, action, reward, next_obs, discount), row, env, weight in zip(
            parts, rows, envs, weights, strict=False
        ):
            yield Transitions(obs, action, reward, next_obs, discount, Sampled(row, env), weight)


def parts_of_tree(tree: Any, size: int) -> Iterator[Any]:
    """A tree of tensors [B, ...] in parts of so many rows, views, in order."""
    if not isinstance(tree, dict):
        yield from (tree,) if len(tree) <= size else torch.split(tree, size)
        return
    for each in zip(*(parts_of_tree(part, size) for part in tree.values()), strict=True):
        yield dict(zip(tree, each, strict=True))
