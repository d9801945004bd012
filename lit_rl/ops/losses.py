"""Losses of policy-gradient methods. Shapes: B minibatch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def normalize_advantage(advantage_B: Tensor) -> Tensor:
    """``(A - mean) / (std + 1e-8)``; a minibatch of one is left as it is, for it has no deviation."""
    if advantage_B.numel() <= 1:
        return advantage_B
    std, mean = torch.std_mean(advantage_B)
    return (advantage_B - mean) / (std + 1e-8)


def clipped_policy_loss(advantage_B: Tensor, log_ratio_B: Tensor, clip_range: float) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate, to be minimised (Schulman et al. 2017, arXiv:1707.06347, equation 7).

    ``-mean(min(r A, clip(r, 1 - eps, 1 + eps) A))`` with ``r = pi_new / pi_old``.

    Returns:
        the loss, and its gradient with respect to the log-ratios [B]: ``-r A / B``, 0 where clipping decides.
    """
    ratio_B = torch.exp(log_ratio_B)
    plain_B = advantage_B * ratio_B
    clipped_B = advantage_B * torch.clamp(ratio_B, 1.0 - clip_range, 1.0 + clip_range)
    loss = torch.minimum(plain_B, clipped_B).mean().neg_()
    return loss, plain_B.mul_(plain_B <= clipped_B).mul_(-1.0 / len(plain_B))


def policy_gradient_loss(advantage_B: Tensor, log_prob_B: Tensor) -> tuple[Tensor, Tensor]:
    """The policy gradient's surrogate, to be minimised: ``-mean(A log pi)`` (Mnih et al. 2016, arXiv:1602.01783).

    Returns:
        the loss, and its gradient with respect to the log-probabilities [B].
    """
    return -(advantage_B * log_prob_B).mean(), advantage_B * (-1.0 / len(advantage_B))


def value_loss(
    value_B: Tensor, old_value_B: Tensor, return_B: Tensor, clip_range_vf: float | None
) -> tuple[Tensor, Tensor]:
    """Mean squared error to the returns, with the new value kept within `clip_range_vf` of the old one if given.

    Returns:
        the loss, and its gradient with respect to the values [B].
    """
    if clip_range_vf is None:
        error_B = value_B - return_B
        return error_B.square().mean(), error_B.mul_(2.0 / len(error_B))
    step_B = value_B - old_value_B
    error_B = old_value_B + torch.clamp(step_B, -clip_range_vf, clip_range_vf) - return_B
    return error_B.square().mean(), error_B.mul_(2.0 / len(error_B)).mul_(step_B.abs() <= clip_range_vf)


def approximate_kl(log_ratio_B: Tensor) -> Tensor:
    """Unbiased, low-variance estimate of KL(old || new): ``mean(exp(x) - 1 - x)`` (Schulman 2020, k3)."""
    return (torch.expm1(log_ratio_B) - log_ratio_B).mean()


def clip_fraction(log_ratio_KB: Sequence[Tensor], clip_range: float) -> Tensor:
    """Share of ratios further than `clip_range` from 1, as the mean over K minibatches of any sizes."""
    clipped = (torch.abs(torch.exp(torch.cat(list(log_ratio_KB))) - 1.0) > clip_range).float()
    parts = torch.split(clipped, [len(log_ratio_B) for log_ratio_B in log_ratio_KB])
    return torch.stack([part.mean() for part in parts]).mean()
