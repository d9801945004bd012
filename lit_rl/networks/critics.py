"""Networks of off-policy algorithms behind one seam: outputs, and a backward pass for the gradient of the outputs.

Those here take any network of stable-baselines3's and have torch's autograd work their gradients out; the plain
perceptrons of `dense_off_policy` have the same methods and theirs by hand. What `forward` keeps for `backward` is the
last batch's; a loss is known only to whoever calls them.

Shapes: B a batch, A action dimensions, K critics, N actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lit_rl.networks.actor_critic import as_tensor
from lit_rl.networks.compiled import compiled
from lit_rl.ops.td import follow


class Outputs:
    """What a network makes of observations: values of all actions [B, N] (DQN), or actions without noise [B, A] (TD3).

    Args:
        module: maps observations to them.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._learn: Callable[..., Tensor] = module
        self._infer: Callable[..., Tensor] = module
        self._out: Tensor | None = None

    def compile(self, target: bool = False) -> None:
        """Let torch.compile make what `forward` calls, or what `infer` does for a target network."""
        if target:
            self._infer = compiled(self._module)
        else:
            self._learn = compiled(self._module)

    def forward(self, obs: Any) -> Tensor:
        """Values or actions, from which `backward` goes on."""
        with torch.enable_grad():
            self._out = self._learn(obs).float()  # losses are computed in float32
        return self._out.detach()

    @torch.no_grad()
    def infer(self, obs: Any) -> Tensor:
        """The same, of which nothing is kept."""
        return self._infer(obs).float()

    def of_few(self, obs: Any) -> np.ndarray:
        """The same for what the environments of this rank show, in NumPy."""
        device = next(self._module.parameters()).device
        values: np.ndarray = self.infer(as_tensor(obs, device)).cpu().numpy()
        return values

    def backward(self, d_out: Tensor) -> None:
        """Leave the gradient of the parameters in them."""
        assert self._out is not None
        torch.autograd.backward(self._out, d_out)
        self._out = None

    def follow(self, source: Any, tau: float) -> None:
        """Take over the share `tau` of another network like this."""
        follow(self._module, source._module, tau)


class Critics:
    """K values of observations and actions.

    Args:
        module: stable-baselines3's `ContinuousCritic`, or what has its methods.
        parameters: that its optimizer moves.
    """

    def __init__(self, module: Any, parameters: Sequence[nn.Parameter]) -> None:
        self._module, self._parameters = module, parameters
        self._learn: Callable[..., tuple[Tensor, ...]] = module
        self._infer: Callable[..., tuple[Tensor, ...]] = module
        self._first: Callable[..., Tensor] = self._q1
        self._out: Tensor | None = None
        self._action: Tensor | None = None

    def _q1(self, obs: Any, action: Tensor) -> Tensor:
        values: Tensor = self._module.q1_forward(obs, action)
        return values

    @staticmethod
    def side_by_side(values: Any) -> Tensor:
        """What the module gives, as [K, B]."""
        return torch.cat(values, dim=1).t().float()

    def compile(self, target: bool = False) -> None:
        """Let torch.compile make what `forward` and `judge` call, or what `infer` does for target networks."""
        if target:
            self._infer = compiled(self._module)
        else:
            self._learn, self._first = compiled(self._module), compiled(self._q1)

    def forward(self, obs: Any, action: Tensor) -> Tensor:
        """Values [K, B]."""
        with torch.enable_grad():
            self._out = self.side_by_side(self._learn(obs, action))
        return self._out.detach()

    @torch.no_grad()
    def infer(self, obs: Any, action: Tensor) -> Tensor:
        """The same, of which nothing is kept."""
        return self.side_by_side(self._infer(obs, action))

    def backward(self, d_values_KB: Tensor) -> None:
        """Leave the gradient of the parameters in them."""
        assert self._out is not None
        torch.autograd.backward(self._out, d_values_KB, inputs=list(self._parameters))
        self._out = None

    def judge(self, obs: Any, action: Tensor, first: bool = False) -> Tensor:
        """Values [K, B] of a policy's actions, or of the first critic [1, B]; `slope_of_actions` goes on from here."""
        self._action = action.detach().requires_grad_()
        with torch.enable_grad():
            values = (self._first(obs, self._action),) if first else self._learn(obs, self._action)
            self._out = self.side_by_side(values)
        return self._out.detach()

    def slope_of_actions(self, d_values_KB: Tensor) -> Tensor:
        """The gradient of the actions [B, A] that were judged last; that of the parameters is not worked out."""
        assert self._out is not None
        assert self._action is not None
        (slope,) = torch.autograd.grad(self._out, self._action, d_values_KB)
        self._out = self._action = None
        return slope

    def follow(self, source: Any, tau: float) -> None:
        """Take over the share `tau` of other critics like these."""
        follow(self._module, source._module, tau)


class QuantileCritics(Critics):
    """K critics with Q quantiles each, of sb3-contrib's TQC: what has the shape [K, B] of `Critics` has [K, B, Q]."""

    @staticmethod
    def side_by_side(values: Any) -> Tensor:
        """What the module gives, [B, K, Q], as [K, B, Q]."""
        quantiles: Tensor = values.transpose(0, 1).float()
        return quantiles
