"""Returns and advantages. Shapes: T time, N environments."""

from __future__ import annotations

import numpy as np
import torch


def gae(
    reward_TN: np.ndarray,
    value_TN: np.ndarray,
    done_TN: np.ndarray,
    last_value_N: np.ndarray,
    gamma: float,
    gae_lambda: float,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438, equation 16).

    .. math::
        \delta_t = r_t + \gamma (1 - d_t) V(s_{t+1}) - V(s_t), \qquad
        \hat A_t = \delta_t + \gamma \lambda (1 - d_t) \hat A_{t+1}

    Args:
        reward_TN: reward of the step taken at time t. A truncated episode's last reward must already hold
            ``gamma * V(final observation)``: the recursion stops there as it does at a termination.
        value_TN: value of the observation before the step.
        done_TN: whether the episode ended with the step at time t, by termination or truncation.
        last_value_N: value of the observation after the last step.

    Returns:
        advantages [T, N] and the value targets ``advantages + values`` [T, N], both float32.
    """
    advantage_TN = np.empty_like(reward_TN, dtype=np.float32)
    going_on_TN = (~done_TN).astype(np.float32)
    next_value_N, advantage_N = last_value_N, np.zeros_like(last_value_N, dtype=np.float32)
    for t in range(len(reward_TN) - 1, -1, -1):
        delta_N = reward_TN[t] + gamma * next_value_N * going_on_TN[t] - value_TN[t]
        advantage_N = delta_N + gamma * gae_lambda * going_on_TN[t] * advantage_N
        advantage_TN[t] = advantage_N
        next_value_N = value_TN[t]
    return advantage_TN, advantage_TN + value_TN


def explained_variance(predicted: torch.Tensor, target: torch.Tensor) -> float:
    """``1 - Var[target - predicted] / Var[target]``; nan where the target does not vary (as SB3 reports it)."""
    variance = torch.var(target, unbiased=False)
    if variance == 0:
        return float("nan")
    return float(1 - torch.var(target - predicted, unbiased=False) / variance)
