"""Multilayer perceptrons whose backward pass is written by hand, several equal ones as one.

Shapes: K networks side by side, B a batch, I inputs and O outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lit_rl.networks.activations import IDENTITY, Activation, activation_of
from lit_rl.networks.flat import Flat

_SIZES = 4
"""Sizes of batches that memory is kept for."""


@dataclass
class Spec:
    """A layer as a module has it: its linear part, and the activation behind it."""

    linear: nn.Linear
    activation: Activation
    kind: str

    @property
    def shape(self) -> tuple[int, int, str]:
        """What two layers that are computed side by side have in common."""
        return self.linear.in_features, self.linear.out_features, self.kind


def layers_of(modules: Iterable[nn.Module]) -> list[Spec] | None:
    """The layers of a plain perceptron; `None` for anything else, such as dropout, a norm, or a module with hooks."""
    found: list[Spec] = []
    for module in modules:
        if _hooked(module):
            return None
        if type(module) is nn.Sequential:
            inner = layers_of(module)
            if inner is None:
                return None
            found += inner
        elif type(module) is nn.Linear:
            if module.bias is None or module.weight.dtype != torch.float32:
                return None
            found.append(Spec(module, IDENTITY, ""))
        elif type(module) in (nn.Identity, nn.Flatten) and not found:
            continue
        else:
            activation = activation_of(module)
            if activation is None or not found or found[-1].kind:
                return None
            found[-1] = Spec(found[-1].linear, activation, repr(module))
    return found


def _hooked(module: nn.Module) -> bool:
    """Whether somebody looks at what passes through a module, or at the gradients of its own parameters."""
    passing = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return bool(passing) or any(
        each._backward_hooks or each._post_accumulate_grad_hooks
        for each in module._parameters.values()
        if each is not None
    )


def hooked(network: nn.Module) -> str | None:
    """The name of a part of a network that has a hook; a backward pass by hand calls none."""
    return next((name or type(network).__name__ for name, part in network.named_modules() if _hooked(part)), None)


def parameters_of_layers(networks: Sequence[Sequence[Spec]]) -> list[nn.Parameter]:
    """Parameters of K equal networks, layer by layer."""
    return [
        parameter
        for layers in zip(*networks, strict=True)
        for kind in ("weight", "bias")
        for parameter in (getattr(layer.linear, kind) for layer in layers)
    ]


class _Layer:
    """K layers side by side: views of their parameters and of where their gradients lie.

    Each network has its products and sums to itself, whose bits then do not depend on how many there are; what is done
    number by number is one operation for all.
    """

    def __init__(self, layers: Sequence[Spec], flat: Flat) -> None:
        weights, biases = ([getattr(layer.linear, kind) for layer in layers] for kind in ("weight", "bias"))
        self.weights_OI = [weight.data for weight in weights]
        self.weights_IO = [weight.data.t() for weight in weights]
        self.biases_O = [bias.data for bias in biases]
        self.d_weights_OI = [flat.gradient_of(weight) for weight in weights]
        self.d_biases_O = [flat.gradient_of(bias) for bias in biases]
        self.activation = layers[0].activation
        self.outputs, self.inputs = self.weights_OI[0].shape
        self._few_inputs = 2 * self.inputs <= self.outputs

    def forward(self, x_KBI: Sequence[Tensor], z: _Memory) -> None:
        """Leave what comes before the activation, [K, B, O], in `z`."""
        for bias, x, weight, out in zip(self.biases_O, x_KBI, self.weights_IO, z.each, strict=True):
            torch.addmm(bias, x, weight, out=out)

    def leave_gradient(self, x_KBI: Sequence[Tensor], g_KBO: Sequence[Tensor]) -> None:
        """The gradient of weights and biases, for the input and the gradient before the activation."""
        for x, each, d_weight, d_bias in zip(x_KBI, g_KBO, self.d_weights_OI, self.d_biases_O, strict=True):
            if self._few_inputs:  # a product with few columns takes several times as long as its transpose
                d_weight.copy_(torch.mm(x.t(), each).t())
            else:
                torch.mm(each.t(), x, out=d_weight)
            torch.sum(each, dim=0, out=d_bias)

    def inputs_gradient(self, g_KBO: Sequence[Tensor], d_x: _Memory) -> None:
        """Leave the gradient of the input, [K, B, I], in `d_x`."""
        for g, weight, out in zip(g_KBO, self.weights_OI, d_x.each, strict=True):
            torch.mm(g, weight, out=out)


class _Memory:
    """Numbers [K, B, I] that are written anew for every batch, whole and for each network."""

    def __init__(self, like: Tensor, *shape: int) -> None:
        self.whole = like.new_empty(shape)
        self.each = self.whole.unbind()


class Dense:
    """K equal perceptrons as one. What `forward` keeps for `backward`, and what both give, is the last batch's.

    Args:
        networks: layers of each, equal in their shapes.
        flat: where their parameters lie.
    """

    def __init__(self, networks: Sequence[Sequence[Spec]], flat: Flat) -> None:
        self.count = len(networks)
        self.layers = [_Layer(layers, flat) for layers in zip(*networks, strict=True)]
        self._like = flat.gradient
        self._memories: dict[int, tuple[list[_Memory], list[_Memory]]] = {}
        self._kept: list[tuple[Sequence[Tensor], Tensor]] = []
        self._size = 0

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [K, B, O] for inputs [K, B, I], or [B, I] for all; inputs must not change before `backward`."""
        y = x
        x_KBI: Sequence[Tensor] = x.unbind() if x.dim() == 3 else (x,) * self.count
        self._size, self._kept = x.shape[-2], []
        for layer, z in zip(self.layers, self._memory()[0], strict=True):
            layer.forward(x_KBI, z)
            y = layer.activation.forward(z.whole)
            self._kept.append((x_KBI, z.whole if layer.activation.keeps_input else y))
            x_KBI = z.each if y is z.whole else y.unbind()
        return y

    def infer(self, x_BI: Tensor) -> Tensor:
        """Outputs [B, O] of the only network, or of the first, of which nothing is kept."""
        for layer in self.layers:
            x_BI = layer.activation.forward(torch.addmm(layer.biases_O[0], x_BI, layer.weights_IO[0]))
        return x_BI

    def tangent(self, moved: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """How the outputs of the only network move, [B, O], where its parameters do, at the inputs of `forward`.

        Args:
            moved: by how much weights [O, I] and biases [O] of each layer move.
        """
        d_x: Tensor | None = None
        for layer, (x_KBI, kept), (d_weight, d_bias) in zip(self.layers, self._kept, moved, strict=True):
            d_z = torch.addmm(d_bias, x_KBI[0], d_weight.t())
            if d_x is not None:
                d_z.addmm_(d_x, layer.weights_IO[0])
            d_x = layer.activation.backward(d_z, kept[0])
        assert d_x is not None
        return d_x

    def backward(self, g_KBO: Tensor, inputs: bool = False, weights: bool = True) -> Tensor:
        """Leave the gradient of the parameters in the flat gradient.

        Args:
            g_KBO: gradient of the outputs, which may be overwritten.
            inputs: whether that of the inputs is wanted.
            weights: whether that of the parameters is.

        Returns:
            the gradient of the inputs [K, B, I], or of what comes before the first activation.
        """
        g, each = g_KBO, g_KBO.unbind()
        memory = self._memory()[1]
        for i in range(len(self.layers) - 1, -1, -1):
            layer, (x, kept) = self.layers[i], self._kept[i]
            before = layer.activation.backward(g, kept)
            if before is not g:
                g, each = before, before.unbind()
            if weights:
                layer.leave_gradient(x, each)
            if i or inputs:
                layer.inputs_gradient(each, memory[i])
                g, each = memory[i].whole, memory[i].each
        return g

    def slope_of_inputs(self, g_KBO: Tensor, rows: Sequence[Tensor]) -> Tensor:
        """The gradient of inputs that all networks had, [B, I], where each network has one in some rows only.

        Args:
            g_KBO: gradient of the outputs.
            rows: for each network, the rows whose outputs have one.
        """
        whole = self._like.new_zeros(self._size, self.layers[0].inputs)
        for k, row in enumerate(rows):
            g = g_KBO[k].index_select(0, row)
            for layer, (_, kept) in zip(reversed(self.layers), reversed(self._kept), strict=True):
                if layer.activation is not IDENTITY:
                    g = layer.activation.backward(g, kept[k].index_select(0, row))
                g = torch.mm(g, layer.weights_OI[k])
            whole.index_add_(0, row, g)
        return whole

    def _memory(self) -> tuple[list[_Memory], list[_Memory]]:
        """For outputs and for gradients of inputs of each layer, with a batch of the size at hand."""
        if self._size not in self._memories:
            if len(self._memories) == _SIZES:
                self._memories.clear()
            shapes = [(self.count, self._size, layer.outputs, layer.inputs) for layer in self.layers]
            outputs = [_Memory(self._like, count, size, out) for count, size, out, _ in shapes]
            inputs = [_Memory(self._like, count, size, into) for count, size, _, into in shapes]
            self._memories[self._size] = outputs, inputs
        return self._memories[self._size]


def same_shapes(*networks: Sequence[Spec]) -> bool:
    """Whether networks can be computed side by side."""
    first: Any = [layer.shape for layer in networks[0]]
    return all([layer.shape for layer in each] == first for each in networks[1:])
