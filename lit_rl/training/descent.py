"""One guarded gradient step: backpropagated, summed over ranks, unscaled, looked at, clipped, taken and counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lit_rl.errors import Diverged
from lit_rl.networks.actor_critic import ActorCritic, Slope
from lit_rl.ops.gradients import clip_gradients, gradient_norm, times
from lit_rl.ranks.group import Ranks
from lit_rl.state.records import Counters
from lit_rl.training.sharing import InPieces, Piece, S, Whole, flatten_gradient, spread_gradient


class Descent:
    """Takes gradient steps for any optimizer, and none that is not finite.

    Args:
        counters: of the run: gradient steps, and those that were skipped.
        max_bad_updates: so many skipped steps in a row end the run.
        scaler: gives the Trainer's scaler of losses in half precision, or `None`.
        ranks: gives the ranks that share the work.
    """

    def __init__(
        self,
        counters: Counters,
        max_bad_updates: int,
        scaler: Callable[[], torch.amp.GradScaler | None],
        ranks: Callable[[], Ranks],
    ) -> None:
        self._counters, self._limit = counters, max_bad_updates
        self._scaler, self._ranks = scaler, ranks

    def step(
        self,
        optimizer: Optimizer,
        loss: Tensor,
        max_norm: float | None = None,
        retain: bool = False,
        ends_row: bool = True,
    ) -> bool:
        """A step down `loss`: the mean over this rank's own batch; of several ranks, the mean of theirs.

        Args:
            optimizer: whose parameters are changed, and no others.
            loss: a scalar that depends on them.
            max_norm: bound of the gradient's norm, over all of the optimizer's parameters; `None` for no bound.
            retain: keep the graph of the loss for another one.
            ends_row: see `step_by`.

        Returns:
            whether the step was taken; not if loss or gradient is not finite.

        Raises:
            Diverged: it is the last of `max_bad_updates` in a row that was not.
        """
        parameters = parameters_of(optimizer)

        def backward(scale: float) -> None:
            torch.autograd.backward(times(loss, scale), retain_graph=retain, inputs=parameters)

        return self.step_by(optimizer, loss.detach(), backward, max_norm, ends_row)

    def step_by(
        self,
        optimizer: Optimizer,
        loss: Tensor,
        backward: Callable[[float], None],
        max_norm: float | None = None,
        ends_row: bool = True,
    ) -> bool:
        """The same for a loss whose gradient the caller leaves in the parameters.

        Args:
            optimizer, max_norm: those of `step`.
            loss: its value.
            backward: leaves the gradient of the loss times a number in the optimizer's parameters.
            ends_row: whether a step that is taken ends a row of skipped ones; not one that is taken beside others that
                are not.
        """
        parameters = parameters_of(optimizer)
        for parameter in parameters:
            parameter.grad = None
        backward(self._scale(parameters))
        ranks, value = self._ranks(), loss
        if not ranks.alone:
            row = flatten_gradient(parameters, value.reshape(1))
            ranks.sum_in_place(row)
            row /= ranks.size
            value = spread_gradient(row, parameters)
        return self.take(optimizer, float(value), max_norm, ends_row)

    def _scale(self, parameters: Sequence[Tensor]) -> float:
        """What a loss is multiplied with, in half precision."""
        scaler = self._scaler()
        return 1.0 if scaler is None else float(scaler.scale(torch.ones((), device=parameters[0].device)))

    def gradient(
        self,
        sharing: Whole | InPieces,
        pieces: Sequence[Piece],
        net: ActorCritic,
        loss: Callable[[Piece], tuple[Slope, S]],
        stats: type[S],
    ) -> S:
        """Leave the gradient of a minibatch of the run in `net`, whole and not yet looked at; see `sharing`."""
        return sharing.gradient(pieces, net, loss, stats, self._scale(net.parameters))

    def take(self, optimizer: Optimizer, loss: float, max_norm: float | None, ends_row: bool = True) -> bool:
        """Take the step whose gradient lies in the optimizer's parameters.

        Raises:
            Diverged: as `step`.
        """
        scaler = self._scaler()
        if scaler is not None:
            scaler.unscale_(optimizer)
        gradients = [parameter.grad for parameter in parameters_of(optimizer) if parameter.grad is not None]
        norm = gradient_norm(gradients)
        if not (math.isfinite(norm) and math.isfinite(loss)):
            self._skip(scaler)
            return False
        if max_norm is not None:
            clip_gradients(gradients, norm, max_norm)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        self._counters.gradient_steps += 1
        if ends_row:
            self._counters.bad_updates_in_a_row = 0
        return True

    def _skip(self, scaler: torch.amp.GradScaler | None) -> None:
        """Count a step whose loss or gradient is not finite; weights and optimizer stay as they are.

        A gradient that overflows in half precision is what the scaler is there for, and counts once it cannot scale
        lower.
        """
        counters = self._counters
        if scaler is not None:
            scaler.update()
            if scaler.get_scale() >= 1.0:
                return
        counters.bad_updates += 1
        counters.bad_updates_in_a_row += 1
        if counters.bad_updates_in_a_row >= self._limit:
            raise Diverged(
                f"loss or gradient was not finite in {counters.bad_updates_in_a_row} minibatches in a row "
                f"(model.max_bad_updates), the last at timestep {counters.timesteps}; the last checkpoint stands. "
                "Try a lower model.learning_rate or model.max_grad_norm, or env.normalize for observations and rewards."
            )


def parameters_of(optimizer: Optimizer) -> list[Any]:
    """All parameters of an optimizer that are trained, in the order of its groups."""
    groups: Iterable[dict[str, Any]] = optimizer.param_groups
    return [parameter for group in groups for parameter in group["params"] if parameter.requires_grad]
