"""`Dense` with autograd: the same products and activations, and torch works the gradients out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lit_rl.networks.dense import Dense, Spec
from lit_rl.networks.flat import Flat


class Activated(torch.autograd.Function):
    """An activation of ours with its own derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: Any) -> Tensor:
        y: Tensor = activation.forward(x.clone())
        ctx.save_for_backward(x if activation.keeps_input else y)
        ctx.activation = activation
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (kept,) = ctx.saved_tensors
        return ctx.activation.backward(g.clone(memory_format=torch.contiguous_format), kept), None


def through(layers: Sequence[Spec], x: Tensor) -> tuple[Tensor, list[tuple[Spec, Tensor, Tensor]]]:
    """Outputs [B, O] of a network as autograd follows it, and the weights and biases of each layer as leaves."""
    leaves = []
    for layer in layers:
        weight = layer.linear.weight.detach().requires_grad_()
        bias = layer.linear.bias.detach().requires_grad_()
        leaves.append((layer, weight, bias))
        z = torch.addmm(bias, x, weight.t())
        if (
            2 * weight.shape[1] <= weight.shape[0]
        ):  # so that autograd takes the product of few columns the other way, too
            same = torch.mm(x.detach(), weight.t().contiguous())
            z = torch.addmm(bias, x, weight.detach().t()) + (same - same.detach())
        x = Activated.apply(z, layer.activation)  # type: ignore[no-untyped-call]
    return x, leaves


class Followed(Dense):
    """In the place of `Dense`."""

    def __init__(self, networks: Sequence[Sequence[Spec]], flat: Flat) -> None:
        super().__init__(networks, flat)
        self._networks, self._flat = networks, flat

    def forward(self, x: Tensor) -> Tensor:
        inputs = list(x.unbind()) if x.dim() == 3 else [x] * self.count
        self._inputs = [each.detach().requires_grad_() for each in inputs]
        with torch.enable_grad():
            found = [through(layers, each) for layers, each in zip(self._networks, self._inputs, strict=True)]
        self._outputs, self._leaves = [y for y, _ in found], [leaves for _, leaves in found]
        return torch.stack([y.detach() for y in self._outputs])

    def backward(self, g_KBO: Tensor, inputs: bool = False, weights: bool = True) -> Tensor:
        slopes = []
        for y, x, leaves, g in zip(self._outputs, self._inputs, self._leaves, g_KBO.unbind(), strict=True):
            tensors = [tensor for _, weight, bias in leaves for tensor in (weight, bias)]
            *found, d_x = torch.autograd.grad(y, [*tensors, x], g)
            slopes.append(d_x)
            if weights:
                parameters = [p for layer, _, _ in leaves for p in (layer.linear.weight, layer.linear.bias)]
                for parameter, gradient in zip(parameters, found, strict=True):
                    self._flat.gradient_of(parameter).copy_(gradient)
        return torch.stack(slopes)

    def slope_of_inputs(self, g_KBO: Tensor, rows: Sequence[Tensor]) -> Tensor:
        return self.backward(g_KBO, inputs=True, weights=False).sum(dim=0)
