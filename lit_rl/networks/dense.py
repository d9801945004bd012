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
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def parameters_of_layers(networks: Sequence[Sequence[Spec]]) -> list[nn.Parameter]:
    """Parameters of K equal networks in the order in which `Dense` wants them to lie: biases side by side."""
    return [
        parameter
        for layers in zip(*networks, strict=True)
        for kind in ("weight", "bias")
        for parameter in (getattr(layer.linear, kind) for layer in layers)
    ]


class _Layer:
    """K layers side by side: views of their parameters and of where their gradients lie.

    Each network has its products to itself, whose bits then do not depend on how many there are; everything else is one
    operation for all.
    """

    def __init__(self, layers: Sequence[Spec], flat: Flat) -> None:
        weights, biases = ([getattr(layer.linear, kind) for layer in layers] for kind in ("weight", "bias"))
        self.weights_OI = [weight.data for weight in weights]
        self.weights_IO = [weight.data.t() for weight in weights]
        self.biases_O = [bias.data for bias in biases]
        self.d_weights_OI = [flat.gradient_of(weight) for weight in weights]
        self.d_biases_KO = flat.stacked(flat.gradient, biases)
        self.activation = layers[0].activation
        self.outputs, self.inputs = self.weights_OI[0].shape
        self._few_inputs = 2 * self.inputs <= self.outputs

    def forward(self, x_KBI: Sequence[Tensor]) -> Tensor:
        """What comes before the activation, [K, B, O]."""
        z_KBO = x_KBI[0].new_empty((len(self.biases_O), len(x_KBI[0]), self.outputs))
        for bias, x, weight, z in zip(self.biases_O, x_KBI, self.weights_IO, z_KBO.unbind(), strict=True):
            torch.addmm(bias, x, weight, out=z)
        return z_KBO

    def leave_gradient(self, x_KBI: Sequence[Tensor], g_KBO: Tensor) -> None:
        """The gradient of weights and biases, for the input and the gradient before the activation."""
        for x, g, d_weight in zip(x_KBI, g_KBO.unbind(), self.d_weights_OI, strict=True):
            if self._few_inputs:  # a product with few columns takes several times as long as its transpose
                d_weight.copy_(torch.mm(x.t(), g).t())
            else:
                torch.mm(g.t(), x, out=d_weight)
        torch.sum(g_KBO, dim=1, out=self.d_biases_KO)

    def inputs_gradient(self, g_KBO: Tensor) -> Tensor:
        """The gradient of the input, [K, B, I]."""
        d_x_KBI = g_KBO.new_empty((*g_KBO.shape[:2], self.inputs))
        for g, weight, d_x in zip(g_KBO.unbind(), self.weights_OI, d_x_KBI.unbind(), strict=True):
            torch.mm(g, weight, out=d_x)
        return d_x_KBI


class Dense:
    """K equal perceptrons as one. What `forward` keeps for `backward` is the last batch's.

    Args:
        networks: layers of each, equal in their shapes.
        flat: where their parameters lie, in the order of `parameters_of_layers`.
    """

    def __init__(self, networks: Sequence[Sequence[Spec]], flat: Flat) -> None:
        self.count = len(networks)
        self._layers = [_Layer(layers, flat) for layers in zip(*networks, strict=True)]
        self._kept: list[tuple[Sequence[Tensor], Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [K, B, O] for inputs [K, B, I], or [B, I] for all; inputs must not change before `backward`."""
        y = x
        x_KBI: Sequence[Tensor] = x.unbind() if x.dim() == 3 else [x] * self.count
        self._kept = []
        for layer in self._layers:
            z = layer.forward(x_KBI)
            y = layer.activation.forward(z)
            self._kept.append((x_KBI, z if layer.activation.keeps_input else y))
            x_KBI = y.unbind()
        return y

    def infer(self, x_BI: Tensor) -> Tensor:
        """Outputs [B, O] of the only network, or of the first, of which nothing is kept."""
        for layer in self._layers:
            x_BI = layer.activation.forward(torch.addmm(layer.biases_O[0], x_BI, layer.weights_IO[0]))
        return x_BI

    def backward(self, g_KBO: Tensor, inputs: bool = False, weights: bool = True) -> Tensor:
        """Leave the gradient of the parameters in the flat gradient.

        Args:
            g_KBO: gradient of the outputs.
            inputs: whether that of the inputs is wanted.
            weights: whether that of the parameters is.

        Returns:
            the gradient of the inputs [K, B, I], or of what comes before the first activation.
        """
        g = g_KBO
        for i in range(len(self._layers) - 1, -1, -1):
            layer, (x, kept) = self._layers[i], self._kept[i]
            g = layer.activation.backward(g, kept)
            if weights:
                layer.leave_gradient(x, g)
            if i or inputs:
                g = layer.inputs_gradient(g)
        return g


def same_shapes(*networks: Sequence[Spec]) -> bool:
    """Whether networks can be computed side by side."""
    first: Any = [layer.shape for layer in networks[0]]
    return all([layer.shape for layer in each] == first for each in networks[1:])
