"""Batch renormalisation (Ioffe 2017, arXiv:1702.03275) as sb3-contrib has it, in a handful of operations.

What differs: where all of a batch have the same value, as behind a ReLU that none of them opens, sb3-contrib's gradient
is not a number past the warmup, for it divides by the deviation; here that unit's part of it is 0.

Shapes: B a batch, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from sb3_contrib.common.torch_layers import BatchRenorm1d
from torch import Tensor, nn


class Renorm(BatchRenorm1d):
    """A `BatchRenorm1d` with affine parameters."""

    ra_mean: Tensor
    ra_var: Tensor
    steps: Tensor

    @classmethod
    def of(cls, norm: BatchRenorm1d) -> Renorm:
        """One with the parameters and statistics of another, which are shared."""
        made = cls(norm.num_features, norm.eps, norm.momentum, warmup_steps=norm.warmup_steps)
        for name in ("scale", "bias", "ra_mean", "ra_var", "steps"):
            setattr(made, name, getattr(norm, name))
        return made.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C] to [B, C]: by the batch's statistics in training, which the running ones follow, else by those."""
        if not self.training:
            slope = self.scale / (self.ra_var + self.eps).sqrt()
            return torch.addcmul(self.bias, x - self.ra_mean, slope)
        with torch.no_grad():
            mean = x.float().mean(dim=0)
            centred = x - mean
            var = (centred * centred).sum(dim=0) / (len(x) - 1)  # torch's own takes ten times as long over columns
            r, d = torch.ones_like(var), torch.zeros_like(var)
            if self.steps > self.warmup_steps:
                running = (self.ra_var + self.eps).sqrt()
                r = ((var + self.eps).sqrt() / running).clamp(1 / self.rmax, self.rmax)
                d = ((mean - self.ra_mean) / running).clamp(-self.dmax, self.dmax)
            self.ra_mean += self.momentum * (mean - self.ra_mean)
            self.ra_var += self.momentum * (var - self.ra_var)
            self.steps += 1
        found: Tensor = _Renormalize.apply(x, self.scale, self.bias, mean, var, r, d, self.eps)  # type: ignore[no-untyped-call]
        return found


class _Renormalize(torch.autograd.Function):
    """``(x - m) / s * scale + bias`` with ``m = mean - d sqrt(var) / r`` and ``s^2 = var / r^2 + eps``.

    Mean and variance are the batch's, whose gradient is part of that of `x`; `r` and `d` count as constants.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, r: Tensor, d: Tensor, eps: float
    ) -> Tensor:
        shift = d * var.sqrt() / r
        centred = x - (mean - shift)
        std = (var / r**2 + eps).sqrt()
        ctx.save_for_backward(centred, scale, var, shift, std, r, d)
        ctx.dtype = x.dtype
        return torch.addcmul(bias, centred, scale / std)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (g,) = gradients
        centred, scale, var, shift, std, r, d = ctx.saved_tensors
        total, along = g.sum(dim=0), (g * centred).sum(dim=0) / std  # gradients of bias and scale
        d_x = None
        if ctx.needs_input_grad[0]:
            slope = scale / std
            d_mean, d_std = -slope * total, -slope * along
            by_shift = torch.where(var > 0, d_mean * -d / (2 * r * var.sqrt()), 0.0)
            per_x = (d_std / (2 * std * r**2) + by_shift) * (2 / (len(g) - 1))
            d_x = torch.addcmul(d_mean / len(g) - per_x * shift, centred, per_x).addcmul_(g, slope).to(ctx.dtype)
        return d_x, along, total, None, None, None, None, None


def renormalize_quickly(network: nn.Module) -> None:
    """Put a `Renorm` in the place of each of sb3-contrib's own in a network."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is BatchRenorm1d and child.affine:
                setattr(module, name, Renorm.of(child))
