"""A Gaussian through tanh, with the gradients of its samples (Haarnoja et al. 2018, arXiv:1801.01290, appendix C).

Shapes: B a batch, A action dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lit_rl.ops.distributions import LOG_2PI

EPSILON = 1e-6
"""Of the correction for tanh, as in stable-baselines3."""


def squashed_sample(mean_BA: Tensor, std_BA: Tensor, noise_BA: Tensor) -> Tensor:
    """Actions in [-1, 1], [B, A]: ``tanh(mean + std * noise)``."""
    return torch.tanh(torch.addcmul(mean_BA, noise_BA, std_BA))


def squashed_log_prob(action_BA: Tensor, log_std_BA: Tensor, noise_BA: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities [B] of samples, and ``1 - action^2`` [B, A], which their gradient needs."""
    rest = 1.0 - action_BA.square()
    log_prob = (-0.5 * noise_BA.square() - log_std_BA).sum(dim=1) - 0.5 * LOG_2PI * action_BA.shape[1]
    return log_prob - torch.log(rest + EPSILON).sum(dim=1), rest


def squashed_slope(
    action_BA: Tensor, rest_BA: Tensor, std_BA: Tensor, noise_BA: Tensor, d_action_BA: Tensor, d_log_prob: float
) -> tuple[Tensor, Tensor]:
    """The gradients of means and log-deviations, [B, A] each, of what depends on samples and log-probabilities.

    ``d log p / d a = 2 a / (1 - a^2 + eps)`` where the noise is given, ``d a / d u = 1 - a^2``,
    ``d u / d mean = 1`` and ``d u / d log std = std * noise``; and ``d log p / d log std = -1`` beside.

    Args:
        action_BA, rest_BA, std_BA, noise_BA: of `squashed_sample` and `squashed_log_prob`.
        d_action_BA: the gradient of the samples.
        d_log_prob: that of every log-probability.
    """
    through = torch.addcdiv(d_action_BA, action_BA, rest_BA + EPSILON, value=2.0 * d_log_prob)
    d_mean = through.mul_(rest_BA)
    return d_mean, (d_mean * noise_BA).mul_(std_BA).sub_(d_log_prob)
