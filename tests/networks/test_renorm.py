"""Batch renormalisation equals sb3-contrib's, forward and backward, and has a gradient where that has none."""

from __future__ import annotations

import copy

import pytest
import torch

torch_layers = pytest.importorskip("sb3_contrib.common.torch_layers")

from lit_rl.networks.renorm import Renorm, renormalize_quickly  # noqa: E402  it needs sb3-contrib


def norms(steps: int) -> tuple[torch.nn.Module, Renorm]:
    """One of sb3-contrib's that has seen so many batches, of which two are warmup, and ours with the same numbers."""
    torch.manual_seed(0)
    theirs = torch_layers.BatchRenorm1d(5, warmup_steps=2)
    theirs.steps.fill_(steps)
    with torch.no_grad():
        for tensor in (theirs.scale, theirs.bias, theirs.ra_mean):
            tensor.normal_()
        theirs.ra_var.uniform_(0.1, 9.0)
    return theirs, Renorm.of(copy.deepcopy(theirs))


@pytest.mark.parametrize("steps", [0, 2, 3])
def test_it_equals_sb3_contribs(steps: int) -> None:
    x, slope = torch.randn(16, 5) * torch.tensor([0.1, 1.0, 2.0, 9.0, 50.0]) + 1, torch.randn(16, 5)
    found = []
    for norm in norms(steps):
        for training in (True, False):
            given = x.clone().requires_grad_()
            out = norm.train(training)(given)
            out.backward(slope)
            found.append([out, given.grad, norm.scale.grad.clone(), norm.bias.grad.clone(), *norm.buffers()])
    for theirs, ours in zip(found[0] + found[1], found[2] + found[3], strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)


def test_a_unit_that_is_shut_has_a_gradient() -> None:
    """Past the warmup sb3-contrib's is not a number."""
    x = torch.randn(16, 5)
    x[:, 1] = 0.0
    finite = []
    for norm in norms(3):
        given = x.clone().requires_grad_()
        norm(given).sum().backward()
        finite.append(bool(torch.isfinite(given.grad).all()))
    assert finite == [False, True]


def test_each_of_a_network_is_replaced_and_keeps_its_tensors() -> None:
    network = torch.nn.Sequential(norms(3)[0], torch.nn.Sequential(torch.nn.Linear(5, 5), norms(0)[0]))
    before = {name: tensor.data_ptr() for name, tensor in network.state_dict().items()}
    renormalize_quickly(network)
    assert {name: tensor.data_ptr() for name, tensor in network.state_dict().items()} == before
    assert sum(type(module) is Renorm for module in network.modules()) == 2
