"""Solving ``A x = b`` with products of A alone (Hestenes and Stiefel 1952)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], b: Tensor, x: Tensor, max_steps: int, tolerance: float = 1e-10
) -> Tensor:
    """An approximate solution of ``A x = b`` for a symmetric, positive A.

    Args:
        product: gives ``A v`` for a vector v.
        b: [P].
        x: where to begin, [P].
        max_steps: after so many steps it is as good as it gets.
        tolerance: it ends once the squared norm of ``b - A x`` is below this.
    """
    residual = b - product(x)
    squared = residual @ residual
    direction = residual
    for step in range(max_steps):
        if squared < tolerance:
            break
        moved = product(direction)
        alpha = squared / (direction @ moved)
        x = x + alpha * direction
        if step == max_steps - 1:
            break
        residual = residual - alpha * moved
        before, squared = squared, residual @ residual
        direction = residual + squared / before * direction
    return x
