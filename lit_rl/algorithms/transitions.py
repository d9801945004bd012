"""What a gradient step of an off-policy algorithm learns from. Shapes: B a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lit_rl.data.replay import Sampled
from lit_rl.ops.tree import tree_map


@dataclass
class Transitions:
    """A batch as the targets take it, on the learner's device.

    Args:
        obs, next_obs: [B, ...] as the policy sees them.
        action: [B, ...] as it was stored.
        reward: [B, 1] of the whole window, normalised and discounted.
        discount: [B, 1] of the value of `next_obs`; 0 where the episode ended for good.
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
        for begin in range(0, len(self.reward), size):
            own = slice(begin, begin + size)
            yield Transitions(
                tree_map(lambda part, own=own: part[own], self.obs),
                self.action[own],
                self.reward[own],
                tree_map(lambda part, own=own: part[own], self.next_obs),
                self.discount[own],
                Sampled(self.at.row[own], self.at.env[own]),
                None if self.weight is None else self.weight[own],
            )
