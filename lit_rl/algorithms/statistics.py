"""What the minibatches of an on-policy update leave for the log."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from lit_rl.ops.losses import approximate_kl, clip_fraction


@dataclass
class LossStats:
    """The losses of one minibatch: the policy's, the value's, the entropy's and the whole."""

    COUNT: ClassVar[int] = 4
    losses: list[Tensor]

    def numbers(self) -> Tensor:
        return torch.stack(self.losses)

    @classmethod
    def of_all(cls, numbers: Tensor) -> Self:
        return cls(list(numbers[:4]))

    @property
    def whole(self) -> float:
        """The whole loss."""
        return float(self.losses[-1])


@dataclass
class ValueStats(LossStats):
    """The loss of one minibatch of a critic."""

    COUNT: ClassVar[int] = 1


@dataclass
class RatioStats(LossStats):
    """Those of one minibatch of PPO. What is shared has been summed over all pieces; else it is worked out when asked.

    Args:
        losses: the policy's, the value's, the entropy's and the whole loss.
        log_ratio: log-ratios [B], where the minibatch is whole.
        clip_range: how far a ratio may go from 1.
        shared_kl, shared_clipped: approximate KL and clip fraction, where it is in pieces.
    """

    COUNT: ClassVar[int] = 6
    log_ratio: Tensor | None = None
    clip_range: float = math.inf
    shared_kl: Tensor | None = None
    shared_clipped: Tensor | None = None

    def numbers(self) -> Tensor:
        assert self.log_ratio is not None
        return torch.stack([*self.losses, self.kl(), clip_fraction([self.log_ratio], self.clip_range)])

    @classmethod
    def of_all(cls, numbers: Tensor) -> Self:
        return cls(list(numbers[:4]), shared_kl=numbers[4], shared_clipped=numbers[5])

    def kl(self) -> Tensor:
        """How far the policy has moved."""
        if self.shared_kl is not None:
            return self.shared_kl
        assert self.log_ratio is not None
        return approximate_kl(self.log_ratio)


@dataclass
class UpdateStats:
    """Those of a whole update of PPO. Skipped minibatches leave nothing; of nothing, a mean is NaN.

    Args:
        minibatches: in order.
        last_epoch: index of the first minibatch of the last epoch.
    """

    minibatches: list[RatioStats] = field(default_factory=list)
    last_epoch: int = 0

    def begin_epoch(self) -> None:
        """An epoch begins, which may be the last."""
        self.last_epoch = len(self.minibatches)

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
        return float(torch.stack([stats.kl() for stats in last]).mean()) if last else math.nan

    def clip_fraction(self, clip_range: float) -> float:
        """Mean over all minibatches."""
        if not self.minibatches:
            return math.nan
        shared = [each.shared_clipped for each in self.minibatches if each.shared_clipped is not None]
        if shared:
            return float(torch.stack(shared).mean())
        log_ratios = [each.log_ratio for each in self.minibatches if each.log_ratio is not None]
        return float(clip_fraction(log_ratios, clip_range))
