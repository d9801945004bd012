"""The gradient of all parameters as one vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gradient_norm(gradients: Sequence[Tensor]) -> float:
    """Euclidean norm of all gradients together. Not finite exactly where one of them is not, or where it overflows."""
    whole = gradients[0] if len(gradients) == 1 else torch.cat([gradient.flatten() for gradient in gradients])
    return float(torch.linalg.vector_norm(whole))


def times(value: Tensor, scale: float) -> Tensor:
    """A loss, or its slope, times what losses are multiplied with, which is 1 but in half precision."""
    return value if scale == 1.0 else value * scale


def clip_gradients(gradients: Sequence[Tensor], norm: float, max_norm: float) -> None:
    """Scale gradients of a known norm down to `max_norm` in place, as `torch.nn.utils.clip_grad_norm_` does."""
    factor = max_norm / (norm + 1e-6)
    if factor < 1.0:
        if len(gradients) == 1:
            gradients[0].mul_(factor)
        else:
            torch._foreach_mul_(list(gradients), factor)
