"""Quantile regression. Shapes: B a batch, Q quantiles that are learned, J quantiles of their target."""

from __future__ import annotations

import torch
from torch import Tensor


def midpoints(quantiles: int, like: Tensor) -> Tensor:
    """The levels ``(i + 1/2) / Q`` that quantiles stand for, [Q] (Dabney et al. 2018, arXiv:1710.10044, lemma 2)."""
    return (torch.arange(quantiles, dtype=like.dtype, device=like.device) + 0.5) / quantiles


def quantile_huber_loss(
    value_BQ: Tensor, target_BJ: Tensor, weight_B: Tensor | None, summed: bool
) -> tuple[Tensor, Tensor]:
    """Huber's loss of every pair of a quantile and a target, more of it on one side (arXiv:1710.10044, equation 10).

    A pair weighs ``|level - 1|`` where the target is below the quantile, ``level`` elsewhere, and each transition its
    weight. Of pairs the mean is taken.

    Args:
        value_BQ: [B, Q], or of K critics [K, B, Q].
        target_BJ: [B, J].
        weight_B: of each transition; `None` where all are equal.
        summed: take the sum over the quantiles and the mean over the rest, as QR-DQN does and TQC does not.

    Returns:
        the loss, and its gradient with respect to the values.
    """
    level = midpoints(value_BQ.shape[-1], value_BQ)[:, None]
    error = target_BJ.unsqueeze(-2) - value_BQ.unsqueeze(-1)  # [..., B, Q, J]
    pull = error.clamp(-1.0, 1.0)
    weighted = torch.where(error < 0.0, 1.0 - level, level).mul_(pull)
    if weight_B is not None:
        weighted *= weight_B[:, None, None]
    count = error.numel() / (value_BQ.shape[-1] if summed else 1)
    slope = weighted.sum(dim=-1).mul_(-1.0 / count)
    loss = error.sub_(pull, alpha=0.5).mul_(weighted).sum() / count  # pull (e - pull / 2) is Huber's loss
    return loss, slope
