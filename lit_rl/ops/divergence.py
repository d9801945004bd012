"""How far a policy has moved: the Kullback-Leibler divergence of action distributions, and its curvature.

As in sb3-contrib's TRPO, the divergence of normals and of Bernoullis is the mean over the action's dimensions, that of
several categoricals their sum. Shapes: B batch, A action dimensions, N actions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_rl.ops.distributions import (
    ActionDistribution,
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    MultiCategorical,
    StateDependentNoise,
)


class Outputs(NamedTuple):
    """What B distributions are made of: head [B, ...], the policy's `log_std` where it has one, and latent [B, H]."""

    head: Tensor
    log_std: Tensor | None
    latent: Tensor

    def kept(self) -> Outputs:
        """They as they are now, whatever becomes of the policy."""
        log_std = None if self.log_std is None else self.log_std.detach().clone()
        return Outputs(self.head.detach(), log_std, self.latent.detach())


def divergence(distribution: ActionDistribution, new: Outputs, old: Outputs) -> Tensor:
    """``KL(new || old)`` of each, [B]."""
    match distribution:
        case Categorical():
            return _of_logits(new.head, old.head)
        case MultiCategorical():
            parts = (torch.split(each.head, list(distribution.nvec), dim=1) for each in (new, old))
            return torch.stack([_of_logits(*each) for each in zip(*parts, strict=True)], dim=1).sum(dim=1)
        case Bernoulli():
            # log p / (1 - p) is the logit, and log (1 - p) is -softplus(logit)
            moved = torch.sigmoid(new.head) * (new.head - old.head)
            return (moved + F.softplus(old.head) - F.softplus(new.head)).mean(dim=1)
        case DiagonalGaussian():
            assert new.log_std is not None
            assert old.log_std is not None
            return _of_normals(new.head, torch.exp(2.0 * new.log_std), old.head, torch.exp(2.0 * old.log_std))
        case StateDependentNoise():
            variances = (distribution.variance(each.log_std, each.latent) for each in (new, old))
            return _of_normals(new.head, next(variances), old.head, next(variances))
    raise TypeError(f"no divergence for {distribution}")


def _of_logits(new_BN: Tensor, old_BN: Tensor) -> Tensor:
    log_p = F.log_softmax(new_BN, dim=1)
    return (log_p.exp() * (log_p - F.log_softmax(old_BN, dim=1))).sum(dim=1)


def _of_normals(mean_BA: Tensor, variance: Tensor, old_mean_BA: Tensor, old_variance: Tensor) -> Tensor:
    ratio = variance / old_variance
    each = 0.5 * (ratio + (mean_BA - old_mean_BA).square() / old_variance - 1.0 - torch.log(ratio))
    return each.mean(dim=1)


def curvature(
    distribution: ActionDistribution, now: Outputs, d_head: Tensor, d_log_std: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The second derivative of the mean divergence, where new is old, times a direction.

    There the divergence's own derivative is 0, so that this between the network's Jacobian and its transpose is the
    second derivative with respect to the parameters: Fisher's matrix.

    Args:
        distribution: not that of gSDE.
        now: where.
        d_head, d_log_std: the direction, shaped as head and `log_std`.

    Returns:
        its parts for head and `log_std`.
    """
    head = now.head
    match distribution:
        case Categorical():
            return _of_logits_twice(head, d_head), None
        case MultiCategorical():
            parts = (torch.split(each, list(distribution.nvec), dim=1) for each in (head, d_head))
            return torch.cat([_of_logits_twice(*each) for each in zip(*parts, strict=True)], dim=1), None
        case Bernoulli():
            p = torch.sigmoid(head)
            return d_head * (p * (1.0 - p) / p.numel()), None
        case DiagonalGaussian():
            assert now.log_std is not None
            assert d_log_std is not None
            return d_head * (torch.exp(-2.0 * now.log_std) / d_head.numel()), d_log_std * (2.0 / distribution.dim)
    raise TypeError(f"no curvature for {distribution}")


def _of_logits_twice(logits_BN: Tensor, d_BN: Tensor) -> Tensor:
    """``(diag(p) - p p^T) d / B``."""
    p = F.softmax(logits_BN, dim=1)
    weighted = p * d_BN
    return weighted.addcmul_(p, weighted.sum(dim=1, keepdim=True), value=-1.0).div_(len(p))
