"""The step of augmented random search (Mania et al. 2018, arXiv:1803.07055, algorithm 2). Shapes: K directions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class SearchStep(NamedTuple):
    """A step [P], the size that its sum of directions was taken with, and the deviation of the returns behind it."""

    step: Tensor
    size: float
    return_std: float


def search_step(plus_K: Tensor, minus_K: Tensor, directions_KP: Tensor, n_top: int, learning_rate: float) -> SearchStep:
    """``a / (b std) * sum((r+ - r-) d)`` over the b directions whose better return is the greatest.

    Args:
        plus_K, minus_K: returns of the weights moved along each direction, and against it.
        directions_KP: standard normal directions.
        n_top: b; the deviation is that of their 2 b returns.
        learning_rate: a.
    """
    top = torch.argsort(torch.maximum(plus_K, minus_K), descending=True, stable=True)[:n_top]
    plus, minus = plus_K[top], minus_K[top]
    std = torch.cat([plus, minus]).std()
    size = learning_rate / (n_top * std + 1e-6)
    return SearchStep(size * ((plus - minus) @ directions_KP[top]), float(size), float(std))
