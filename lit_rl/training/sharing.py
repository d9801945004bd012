"""How ranks share the work of one update: a minibatch is the run's, each rank computes what its environments gave.

`share` is the one place that decides between a process that computes whole minibatches, and pieces that are computed
apart and added. Shapes: B transitions of all ranks, in the order (time, environment); F numbers of one gradient, and K
for the log behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from lit_rl.data.rollout import Batch
from lit_rl.errors import ConfigError
from lit_rl.networks.actor_critic import ActorCritic, Slope
from lit_rl.ops.tree import tree_map
from lit_rl.ranks.group import Ranks


class Stats(Protocol):
    """What one minibatch leaves for the log."""

    COUNT: ClassVar[int]
    """K, how many numbers there are."""

    def numbers(self) -> Tensor:
        """They, as means over the minibatch: [K]."""

    @classmethod
    def of_all(cls, numbers: Tensor) -> Self:
        """Put together from the weighted sum of all pieces' numbers, [K]."""


S = TypeVar("S", bound=Stats)


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
    weight: float = 1.0


class Whole:
    """Every minibatch is one piece of this process.

    Args:
        n_envs: environments of the run.
    """

    def __init__(self, n_envs: int) -> None:
        self.groups = [slice(0, n_envs)]
        """Positions of this rank's environments that are computed together."""
        self.acts_at_once = True
        """Whether all of them are acted for in one piece."""

    def act(self, policy: Callable[[Any, Tensor], Tensor], obs: Any, noise_N: Tensor) -> Tensor:
        """Actions [N, ...] for observations [N, ...], drawn with noise [N, ...]."""
        return policy(obs, noise_N)

    def minibatches(
        self, own: Batch, advantage_B: Tensor, order: np.ndarray, size: int, scale: Callable[[Tensor], Tensor]
    ) -> Iterator[list[Piece]]:
        """One epoch's minibatches, each as the pieces of it that this rank computes.

        Args:
            own: transitions of this rank.
            advantage_B: of all ranks' transitions.
            order: of the transitions of all ranks.
            size: of a minibatch; the last may be smaller.
            scale: what makes of a minibatch's advantages those that the loss takes.
        """
        for batch in own.minibatches(torch.from_numpy(order).to(advantage_B.device), size):
            yield [Piece(batch, scale(batch.advantage))]

    def whole(self, own: Batch, advantage_B: Tensor, scale: Callable[[Tensor], Tensor]) -> list[Piece]:
        """A minibatch of all transitions in their order, as the pieces of it that this rank computes; see the other."""
        return [Piece(own, scale(own.advantage))]

    def gradient(
        self,
        pieces: Sequence[Piece],
        net: ActorCritic,
        loss: Callable[[Piece], tuple[Slope, S]],
        stats: type[S],
        scale: float = 1.0,
    ) -> S:
        """Leave the gradient of a minibatch's mean loss in the parameters; returns what is for the log.

        Args:
            pieces: of `minibatches`.
            net: all that the loss depends on.
            loss: the slope of a piece's mean loss, and its numbers.
            stats: the class of these.
            scale: what the loss is multiplied with.
        """
        for parameter in net.parameters:
            parameter.grad = None
        slope, found = loss(pieces[0])
        net.backward(slope.times(scale))
        return found

    def total(self, rows: Sequence[Tensor]) -> Tensor:
        """The sum of numbers [F] of each of this rank's pieces, and of all ranks."""
        return rows[0]


class InPieces:
    """A minibatch is computed in pieces, and their gradients are added over the ranks.

    That sum has a fixed order for one number of ranks. With `fixed` it has the same order for any: a minibatch falls
    into the transitions of so many groups of environments, each is computed by itself, and the gradients are added
    group by group. Then 1, 2 or `fixed` ranks come to the same bits, for every rank computes with the same arrays as
    another would.

    Args:
        ranks: that share.
        n_envs: environments of the whole run.
        fixed: groups of environments, for the same bits with any number of ranks; `None` for one piece a rank.
    """

    def __init__(self, ranks: Ranks, n_envs: int, fixed: int | None) -> None:
        self._ranks, self._n_envs, self._fixed = ranks, n_envs, fixed is not None
        self.acts_at_once = not self._fixed
        rows = ranks.rows(n_envs)
        self._offset, self._own = rows.start, len(rows)
        size = len(rows) if fixed is None else n_envs // fixed
        self.groups = [slice(start, start + size) for start in range(0, len(rows), size)]

    def act(self, policy: Callable[[Any, Tensor], Tensor], obs: Any, noise_N: Tensor) -> Tensor:
        if not self._fixed:
            return policy(obs, noise_N)
        return torch.cat([policy(rows_of_tree(obs, group), noise_N[group].clone()) for group in self.groups])

    def minibatches(
        self, own: Batch, advantage_B: Tensor, order: np.ndarray, size: int, scale: Callable[[Tensor], Tensor]
    ) -> Iterator[list[Piece]]:
        device = advantage_B.device
        for start in range(0, len(order), size):
            chunk = order[start : start + size]
            advantage = scale(advantage_B[torch.from_numpy(chunk).to(device)])
            yield [
                Piece(
                    own.select(torch.from_numpy(rows).to(device)),
                    advantage[torch.from_numpy(where).to(device)],
                    len(rows) / len(chunk),
                )
                for where, rows in self._own_of(chunk)
            ]

    def whole(self, own: Batch, advantage_B: Tensor, scale: Callable[[Tensor], Tensor]) -> list[Piece]:
        size = len(advantage_B)
        return next(self.minibatches(own, advantage_B, np.arange(size), size, scale))

    def _own_of(self, chunk_B: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Where this rank's transitions stand in a minibatch and their rows among its own, group by group."""
        time_B, env_B = np.divmod(chunk_B, self._n_envs)
        row_B = env_B - self._offset
        for group in self.groups:
            where = np.flatnonzero((row_B >= group.start) & (row_B < group.stop))
            yield where, time_B[where] * self._own + row_B[where]

    def gradient(
        self,
        pieces: Sequence[Piece],
        net: ActorCritic,
        loss: Callable[[Piece], tuple[Slope, S]],
        stats: type[S],
        scale: float = 1.0,
    ) -> S:
        rows, parameters = [], net.parameters
        for piece in pieces:
            for parameter in parameters:
                parameter.grad = None
            numbers = torch.zeros(stats.COUNT, device=parameters[0].device)
            if len(piece.batch):
                slope, found = loss(piece)
                net.backward(slope.times(piece.weight * scale))
                numbers = found.numbers() * piece.weight
            rows.append(flatten_gradient(parameters, numbers))
        return stats.of_all(spread_gradient(self.total(rows), parameters))

    def total(self, rows: Sequence[Tensor]) -> Tensor:
        """The sum of all groups' numbers over all ranks, [F]; the same to the bit on all."""
        rows_GF = torch.stack(list(rows))
        if not self._fixed:
            total = rows_GF[0].clone()
            self._ranks.sum_in_place(total)
            return total
        in_order = self._ranks.gather_tensor(rows_GF).flatten(0, 1)
        total = in_order[0].clone()
        for row in in_order[1:]:
            total += row
        return total


def share(ranks: Ranks, n_envs: int, fixed: int | None) -> Whole | InPieces:
    """How the ranks share an update; `fixed` pieces for the same bits with any number of them."""
    return Whole(n_envs) if ranks.alone and fixed is None else InPieces(ranks, n_envs, fixed)


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


def rows_of_tree(obs: Any, rows: slice) -> Any:
    """Some rows of a batch, in memory of their own: where an array begins may change the last bits of a product."""
    return tree_map(lambda part: part[rows].clone(), obs)


def flatten_gradient(parameters: Sequence[Tensor], numbers: Tensor) -> Tensor:
    """All gradients in one vector [F], zeros where there is none, and `numbers` behind them."""
    gradients = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters]
    return torch.cat([*gradients, numbers.to(gradients[0].dtype)])


def spread_gradient(row_F: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The inverse of `flatten_gradient`: sets every parameter's gradient; returns the numbers behind them."""
    start = 0
    for parameter in parameters:
        parameter.grad = row_F[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    return row_F[start:]
