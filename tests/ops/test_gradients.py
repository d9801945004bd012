"""Clipping against torch's own."""

import math

import pytest
import torch

from lit_rl.ops.gradients import clip_gradients, gradient_norm


@pytest.mark.parametrize("max_norm", [0.5, 1000.0])
def test_equal_to_torchs_clipping(max_norm):
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in [(4, 3), (3,), ()]]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    ours = [parameter.grad.clone() for parameter in parameters]
    norm = gradient_norm(ours)
    clip_gradients(ours, norm, max_norm)
    assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(parameters, max_norm)))
    for gradient, parameter in zip(ours, parameters, strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_number_shows_in_the_norm(bad):
    assert not math.isfinite(gradient_norm([torch.ones(5), torch.tensor([1.0, bad])]))
