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


def clipped_policy_loss(advantage_B: Tensor, ratio_B: Tensor, clip_range: float) -> Tensor:
    """PPO's clipped surrogate, to be minimised (Schulman et al. 2017, arXiv:1707.06347, equation 7).

    ``-mean(min(r A, clip(r, 1 - eps, 1 + eps) A))`` with ``r = pi_new / pi_old``.
    """
    clipped_B = torch.clamp(ratio_B, 1.0 - clip_range, 1.0 + clip_range)
    return -torch.min(advantage_B * ratio_B, advantage_B * clipped_B).mean()


def policy_gradient_loss(advantage_B: Tensor, log_prob_B: Tensor) -> Tensor:
    """The policy gradient's surrogate, to be minimised: ``-mean(A log pi)`` (Mnih et al. 2016, arXiv:1602.01783)."""
    return -(advantage_B * log_prob_B).mean()


def value_loss(value_B: Tensor, old_value_B: Tensor, return_B: Tensor, clip_range_vf: float | None) -> Tensor:
    """Mean squared error to the returns, with the new value kept within `clip_range_vf` of the old one if given."""
    if clip_range_vf is not None:
        value_B = old_value_B + torch.clamp(value_B - old_value_B, -clip_range_vf, clip_range_vf)
    return torch.nn.functional.mse_loss(value_B, return_B)


def approximate_kl(log_ratio_B: Tensor) -> Tensor:
    """Unbiased, low-variance estimate of KL(old || new): ``mean(exp(x) - 1 - x)`` (Schulman 2020, k3)."""
    return (torch.expm1(log_ratio_B) - log_ratio_B).mean()


def clip_fraction(log_ratio_KB: Sequence[Tensor], clip_range: float) -> Tensor:
    """Share of ratios further than `clip_range` from 1, as the mean over K minibatches of any sizes."""
    clipped = (torch.abs(torch.exp(torch.cat(list(log_ratio_KB))) - 1.0) > clip_range).float()
    parts = torch.split(clipped, [len(log_ratio_B) for log_ratio_B in log_ratio_KB])
    return torch.stack([part.mean() for part in parts]).mean()
