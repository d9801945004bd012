"""Parameters of a network in one flat tensor, and an optimizer of it that says of itself what one of each would.

What is done to all parameters is one operation then: norm, clipping, the optimizer's step, what a target network takes
over. The network's parameters stay what they were, by name and shape; their memory is a part of the flat one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import Tensor, nn, optim

_ALIGN = 16
"""Numbers, 64 bytes: where each parameter begins."""

ELEMENTWISE: tuple[type[optim.Optimizer], ...] = (
    optim.Adam, optim.AdamW, optim.Adamax, optim.NAdam, optim.RAdam, optim.RMSprop, optim.SGD, optim.Adagrad,
    optim.Adadelta, optim.Rprop, optim.ASGD, RMSpropTFLike,
)  # fmt: skip
"""Optimizers that treat every number by itself, so that one tensor or many is the same to them."""


class _NoHooks:
    """No hooks around a step, nor what torch asks about them."""

    @staticmethod
    def profile_hook_step(func: Any) -> Any:
        return func


class FlatAdam(_NoHooks, optim.Adam):
    """Adam (Kingma and Ba 2014, arXiv:1412.6980) of one tensor, by torch's fused operation.

    Around that operation torch's own spends ten times what it takes.
    """

    stands_for = optim.Adam
    """By whose name a checkpoint knows it."""

    @classmethod
    def like(cls, optimizer: optim.Optimizer) -> optim.Optimizer:
        """One with the settings of another, where that is an Adam whose step this class takes."""
        settings = {key: value for key, value in optimizer.defaults.items() if key != "params"}
        others = ("amsgrad", "maximize", "differentiable", "capturable", "foreach", "decoupled_weight_decay")
        if type(optimizer) is not optim.Adam or not settings.get("fused") or any(settings.get(key) for key in others):
            return optimizer
        settings.pop("decoupled_weight_decay", None)
        return cls(optimizer.param_groups[0]["params"], **settings)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        (group,) = self.param_groups
        (values,) = group["params"]
        state = self.state[values]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=values.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(values), torch.zeros_like(values)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        torch._fused_adam_(
            [values], [values.grad], [state["exp_avg"]], [state["exp_avg_sq"]], [], [state["step"]],
            lr=group["lr"], beta1=beta1, beta2=beta2, weight_decay=group["weight_decay"], eps=group["eps"],
            amsgrad=False, maximize=False,
        )  # fmt: skip


class FlatRMSprop(_NoHooks, optim.RMSprop):
    """RMSprop (Tieleman and Hinton 2012) of one tensor: torch's own operations, without what it does around them."""

    stands_for = optim.RMSprop

    @classmethod
    def like(cls, optimizer: optim.Optimizer) -> optim.Optimizer:
        """One with the settings of another, where that is an RMSprop whose step this class takes."""
        others = ("momentum", "centered", "maximize", "differentiable", "capturable", "foreach")
        if type(optimizer) is not optim.RMSprop or any(optimizer.defaults[key] for key in others):
            return optimizer
        return cls(optimizer.param_groups[0]["params"], **optimizer.defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        (group,) = self.param_groups
        (values,) = group["params"]
        state, gradient, alpha = self.state[values], values.grad, group["alpha"]
        if not state:
            state["step"], state["square_avg"] = torch.zeros((), dtype=torch.float32), torch.zeros_like(values)
        state["step"] += 1
        if group["weight_decay"]:
            gradient = gradient.add(values, alpha=group["weight_decay"])
        square = state["square_avg"].mul_(alpha).addcmul_(gradient, gradient, value=1 - alpha)
        values.addcdiv_(gradient, square.sqrt().add_(group["eps"]), value=-group["lr"])


for each in (FlatAdam, FlatRMSprop):
    each.__name__ = each.__qualname__ = each.stands_for.__name__  # what callbacks log an optimizer's learning rate by


class Flat:
    """The parameters of a network in one tensor.

    Shapes: F numbers of all parameters, with zeros between them so that each begins where memory is aligned.

    Args:
        parameters: in the order in which they lie; their memory becomes this one.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self._begins, size = list[int](), 0
        for parameter in self._parameters:
            self._begins.append(size)
            size += -(-parameter.numel() // _ALIGN) * _ALIGN
        like = self._parameters[0].data
        self.values = nn.Parameter(like.new_zeros(size))
        """[F]."""
        self.gradient = like.new_zeros(size)
        """[F]; where a network's backward pass leaves its gradient."""
        for parameter, part in zip(self._parameters, self.split(self.values.data), strict=True):
            part.copy_(parameter.data)
            parameter.data = part

    def split(self, flat: Tensor) -> list[Tensor]:
        """The parts of a tensor [F] that belong to each parameter, by its shape; views."""
        return [
            flat[begin : begin + parameter.numel()].view(parameter.shape)
            for begin, parameter in zip(self._begins, self._parameters, strict=True)
        ]

    def gradient_of(self, parameter: Tensor | None) -> Tensor:
        """Where its gradient lies."""
        return self.part(self.gradient, parameter)

    def part(self, flat: Tensor, parameter: Tensor | None) -> Tensor:
        """The part of a tensor [F] that belongs to it; a view."""
        return self.split(flat)[next(i for i, each in enumerate(self._parameters) if each is parameter)]

    def show_gradient(self) -> None:
        """Let the gradient be that of `values`, for the optimizer."""
        self.values.grad = self.gradient

    @torch.no_grad()
    def move_towards(self, source: Flat, tau: float) -> None:
        """Take over the share `tau` of another network's parameters, as `ops.td.polyak` does."""
        if tau == 1.0:
            self.values.copy_(source.values)
        else:
            self.values.mul_(1.0 - tau).add_(source.values, alpha=tau)

    def optimizer(
        self, make: Callable[[list[nn.Parameter]], optim.Optimizer], parameters: Sequence[nn.Parameter]
    ) -> optim.Optimizer:
        """An optimizer of `values`, whose state dictionary is that of one of the parameters.

        Args:
            make: makes one of a list of parameters.
            parameters: in the order in which an optimizer of them would have them. Those that do not lie here are
                never moved by it, and have no state.
        """
        optimizer = FlatRMSprop.like(FlatAdam.like(make([self.values])))
        places = {id(parameter): i for i, parameter in enumerate(self._parameters)}
        order = [places.get(id(parameter)) for parameter in parameters]
        optimizer.register_state_dict_post_hook(lambda _, state: self._apart(state, order))
        optimizer.register_load_state_dict_pre_hook(lambda _, state: self._joined(state, order))
        return optimizer

    def _apart(self, state: dict[str, Any], order: list[int | None]) -> dict[str, Any]:
        """The state of an optimizer of `values` as that of one of the parameters."""
        found: dict[int, dict[str, Any]] = {}
        for key, value in state["state"].get(0, {}).items():
            flat = isinstance(value, Tensor) and value.shape == self.values.shape
            parts = self.split(value) if flat else None
            for position, index in _there(order):
                part = value if parts is None else parts[index]
                found.setdefault(position, {})[key] = part.clone() if isinstance(part, Tensor) else part
        groups = [{**group, "params": list(range(len(order)))} for group in state["param_groups"]]
        return {**state, "state": found, "param_groups": groups}

    def _joined(self, state: dict[str, Any], order: list[int | None]) -> dict[str, Any]:
        """The inverse of `_apart`; also of a state that holds nothing."""
        groups = [{**group, "params": [0] if group["params"] else []} for group in state["param_groups"]]
        joined: dict[str, Any] = {}
        at, lies = _there(order)[0]
        for key, first in state["state"].get(at, {}).items():
            if not (isinstance(first, Tensor) and first.dim() and first.shape == self._parameters[lies].shape):
                joined[key] = first
                continue
            joined[key] = torch.zeros_like(self.values.data, dtype=first.dtype)
            parts = self.split(joined[key])
            for position, index in _there(order):
                parts[index].copy_(state["state"][position][key])
        return {**state, "state": {0: joined} if joined else {}, "param_groups": groups}


def _there(order: Sequence[int | None]) -> list[tuple[int, int]]:
    """Positions in an optimizer of parameters that lie in the flat tensor, and where they do."""
    return [(position, index) for position, index in enumerate(order) if index is not None]
