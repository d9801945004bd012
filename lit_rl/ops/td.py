"""Temporal-difference targets and what surrounds them. Shapes: B a batch, n steps of a window."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn


def window_return(reward_Bn: np.ndarray, gamma: float) -> np.ndarray:
    """``sum_i gamma^i r_i`` of each window, [B] (Sutton and Barto 2018, equation 7.1); rewards after its end are 0."""
    if reward_Bn.shape[1] == 1:
        return reward_Bn[:, 0]
    found: np.ndarray = reward_Bn @ np.power(gamma, np.arange(reward_Bn.shape[1]))
    return found


def bootstrap_discount(length_B: np.ndarray, terminated_B: np.ndarray, gamma: float) -> np.ndarray:
    """``gamma^length`` where the window's end is bootstrapped from, 0 where the episode ended for good, [B]."""
    found: np.ndarray = np.power(gamma, length_B) * ~terminated_B
    return found


def td_target(reward: Tensor, discount: Tensor, next_value: Tensor) -> Tensor:
    """``r + discount * V(s')``, with the discount of `bootstrap_discount`."""
    return torch.addcmul(reward, discount, next_value)


def squared_error(value_KB: Tensor, target_B: Tensor, weight_B: Tensor | None) -> tuple[Tensor, Tensor]:
    """The mean squared error of K critics, summed over them, each transition by its weight.

    Returns:
        the loss, and its gradient with respect to the values [K, B].
    """
    error = value_KB - target_B
    pull = error if weight_B is None else error * weight_B
    share = 1.0 / error.shape[1]
    return torch.dot(pull.flatten(), error.flatten()) * share, pull * (2.0 * share)


def huber_loss(value_B: Tensor, target_B: Tensor, weight_B: Tensor | None) -> tuple[Tensor, Tensor]:
    """The mean of Huber's loss, quadratic up to an error of 1, each transition by its weight.

    Returns:
        the loss, and its gradient with respect to the values [B].
    """
    error = value_B - target_B
    pull = error.clamp(-1.0, 1.0)
    error.sub_(pull, alpha=0.5)
    if weight_B is not None:
        pull *= weight_B
    pull *= 1.0 / len(pull)
    return torch.dot(pull, error), pull  # e^2 / 2 within 1, |e| - 1/2 beyond


@torch.no_grad()
def polyak(sources: Iterable[Tensor], targets: Iterable[Tensor], tau: float) -> None:
    """Each target moves the share `tau` of the way to its source: ``t <- (1 - tau) t + tau s``, in place."""
    targets, sources = list(targets), list(sources)
    if targets and tau == 1.0:
        torch._foreach_copy_(targets, sources)
    elif targets:
        torch._foreach_mul_(targets, 1.0 - tau)
        torch._foreach_add_(targets, sources, alpha=tau)


def follow(target: nn.Module, source: nn.Module, tau: float) -> None:
    """`polyak` for the parameters of two equal networks; running statistics of batch norm are taken over whole."""
    polyak(source.parameters(), target.parameters(), tau)
    names = [name for name, _ in source.named_buffers() if "running_" in name]
    polyak([source.get_buffer(name) for name in names], [target.get_buffer(name) for name in names], 1.0)
