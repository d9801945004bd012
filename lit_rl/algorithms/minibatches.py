"""What the minibatches of an update leave for the log."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lit_rl.ops.losses import approximate_kl, clip_fraction


@dataclass
class Numbers:
    """Those of one minibatch. Shared ones have been summed over all pieces; others are worked out when asked for.

    Args:
        losses: the policy's, the value's, the entropy's and the whole loss.
        log_ratio: log-ratios [B], where the minibatch is whole.
        shared_kl, shared_clipped: approximate KL and clip fraction, where it is in pieces.
    """

    losses: list[Tensor]
    log_ratio: Tensor | None = None
    shared_kl: Tensor | None = None
    shared_clipped: Tensor | None = None

    def kl(self) -> Tensor:
        """How far the policy has moved."""
        if self.shared_kl is not None:
            return self.shared_kl
        assert self.log_ratio is not None
        return approximate_kl(self.log_ratio)


@dataclass
class Seen:
    """Those of a whole update. Skipped minibatches leave nothing; of nothing, a mean is NaN.

    Args:
        minibatches: in order.
        last_epoch: index of the first minibatch of the last epoch.
    """

    minibatches: list[Numbers] = field(default_factory=list)
    last_epoch: int = 0

    def add(self, numbers: Numbers) -> None:
        self.minibatches.append(numbers)

    def loss_metrics(self) -> tuple[float, float, float, float]:
        """Means of the policy's, the value's and the entropy's loss, and the whole loss of the last minibatch."""
        if not self.minibatches:
            return (math.nan,) * 4
        losses = torch.stack([part for each in self.minibatches for part in each.losses])
        losses = losses.view(len(self.minibatches), -1)
        policy_loss, v_loss, entropy_loss, _ = losses.mean(dim=0).tolist()
        return policy_loss, v_loss, entropy_loss, float(losses[-1, -1])

    def approx_kl(self) -> float:
        """Mean over the last epoch's minibatches, as SB3 reports it."""
        last = self.minibatches[self.last_epoch :]
        return float(torch.stack([numbers.kl() for numbers in last]).mean()) if last else math.nan

    def clip_fraction(self, clip_range: float) -> float:
        """Mean over all minibatches."""
        if not self.minibatches:
            return math.nan
        shared = [each.shared_clipped for each in self.minibatches if each.shared_clipped is not None]
        if shared:
            return float(torch.stack(shared).mean())
        log_ratios = [each.log_ratio for each in self.minibatches if each.log_ratio is not None]
        return float(clip_fraction(log_ratios, clip_range))
