"""How ranks share the work of one update: a minibatch is the run's, each rank computes what its environments gave.

Shapes: B transitions of all ranks, in the order (time, environment); F numbers of one gradient, and those for the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lit_rl.data.rollout import Batch
from lit_rl.errors import ConfigError
from lit_rl.ranks.group import Ranks


@dataclass
class Piece:
    """What one backward pass is made of.

    Args:
        batch: transitions of this rank.
        advantage: theirs, as the loss takes them.
        weight: their share of the minibatch: the sum of all pieces' weighted means is the minibatch's mean.
    """

    batch: Batch
    advantage: Tensor
    weight: float


class Sharing:
    """Which transitions of a minibatch this rank computes, in which pieces, and how their gradients become one.

    A gradient is the sum over the ranks. That sum has a fixed order for one number of ranks. With `pieces` it has the
    same order for any: a minibatch falls into the transitions of so many groups of environments, each is computed by
    itself, and the gradients are added group by group. Then 1, 2 or `pieces` ranks come to the same bits, for every
    rank computes with the same arrays as another would.

    Args:
        ranks: that share.
        n_envs: environments of the whole run.
        pieces: groups of environments, for the same bits with any number of ranks; `None` for one piece a rank.
    """

    def __init__(self, ranks: Ranks, n_envs: int, pieces: int | None) -> None:
        self._ranks, self._n_envs, self._fixed = ranks, n_envs, pieces is not None
        rows = ranks.rows(n_envs)
        self._offset, self._own = rows.start, len(rows)
        size = len(rows) if pieces is None else n_envs // pieces
        self.groups = [slice(start, start + size) for start in range(0, len(rows), size)]
        """Rows of this rank's environments that are computed together."""
        self.whole = ranks.alone and pieces is None
        """Whether a minibatch is one piece of this process."""

    def pieces(self, chunk_B: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """This rank's transitions of a minibatch, group by group.

        Args:
            chunk_B: indices of the minibatch's transitions among those of all ranks.

        Returns:
            where in the chunk they stand, and their indices among this rank's own.
        """
        time_B, env_B = np.divmod(chunk_B, self._n_envs)
        row_B = env_B - self._offset
        for group in self.groups:
            where = np.flatnonzero((row_B >= group.start) & (row_B < group.stop))
            yield where, time_B[where] * self._own + row_B[where]

    def total(self, rows_GF: Tensor) -> Tensor:
        """The sum of all groups' numbers over all ranks, [F]; the same to the bit on all."""
        if not self._fixed:
            total = rows_GF[0].clone()
            self._ranks.sum_in_place(total)
            return total
        in_order = self._ranks.gather_tensor(rows_GF).flatten(0, 1)
        total = in_order[0].clone()
        for row in in_order[1:]:
            total += row
        return total


def check_pieces(pieces: int, ranks: Ranks, n_envs: int) -> None:
    """Refuse a number of pieces that environments or ranks cannot be dealt into.

    Raises:
        ConfigError: names the setting and what fits.
    """
    if n_envs % pieces:
        good = [n for n in range(1, n_envs + 1) if n_envs % n == 0]
        raise ConfigError(
            f"model.reduction_pieces is {pieces}, and env.n_envs: {n_envs} does not divide by it; use one of "
            f"{', '.join(map(str, good))}, or another number of environments."
        )
    if pieces % ranks.size:
        raise ConfigError(
            f"model.reduction_pieces is {pieces}, and {ranks.size} ranks cannot share that evenly; use a multiple of "
            f"{ranks.size}."
        )


def gradient_row(parameters: Sequence[nn.Parameter], numbers: Tensor) -> Tensor:
    """All gradients in one vector [F], zeros where there is none, and `numbers` behind them."""
    gradients = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters]
    return torch.cat([*gradients, numbers.to(gradients[0].dtype)])


def spread_gradient(row_F: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """The inverse of `gradient_row`: sets every parameter's gradient; returns the numbers behind them."""
    start = 0
    for parameter in parameters:
        parameter.grad = row_F[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    return row_F[start:]
