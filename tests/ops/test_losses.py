"""Losses against numbers worked by hand; `algorithms/test_ppo_update.py` compares their sum with SB3's."""

import math

import pytest
import torch

from lit_rl.ops.losses import (
    approximate_kl,
    clip_fraction,
    clipped_policy_loss,
    normalize_advantage,
    policy_gradient_loss,
    value_loss,
)


def test_normalized_advantage_by_hand():
    # mean 4, sample variance (4 + 0 + 4) / 2 = 4
    torch.testing.assert_close(normalize_advantage(torch.tensor([2.0, 4.0, 6.0])), torch.tensor([-1.0, 0.0, 1.0]))


def test_one_advantage_is_left_as_it_is():
    assert normalize_advantage(torch.tensor([7.0])).tolist() == [7.0]


def test_equal_advantages_become_zero():
    assert normalize_advantage(torch.full((4,), 3.0)).tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("advantage", "ratio", "loss"),
    [
        (2.0, 1.0, -2.0),  # no move
        (2.0, 1.5, -2.4),  # a good action made likelier than the clip allows: no more is earned
        (2.0, 0.5, -1.0),  # a good action made unlikelier: not clipped
        (-2.0, 1.5, 3.0),  # a bad action made likelier: not clipped
        (-2.0, 0.5, 1.6),  # a bad action made unlikelier than the clip allows
    ],
)
def test_clipped_policy_loss_by_hand(advantage, ratio, loss):
    ours, _ = clipped_policy_loss(torch.tensor([advantage]), torch.tensor([ratio]).log(), 0.2)
    assert float(ours) == pytest.approx(loss, rel=1e-6)


def test_clipped_policy_loss_is_the_mean():
    ours, _ = clipped_policy_loss(torch.tensor([2.0, -2.0]), torch.tensor([1.5, 1.5]).log(), 0.2)
    assert float(ours) == pytest.approx((-2.4 + 3.0) / 2, rel=1e-6)


def test_nothing_pulls_on_a_clipped_ratio():
    ratio = torch.tensor([1.5, 0.5, 1.5, 0.5])
    _, slope = clipped_policy_loss(torch.tensor([2.0, 2.0, -2.0, -2.0]), ratio.log(), 0.2)  # to log r: times r
    torch.testing.assert_close(slope, torch.tensor([0.0, -0.5 * 0.5, 0.5 * 1.5, 0.0]))


def of_autograd(loss, argument):
    """The gradient of a loss by autograd."""
    argument = argument.clone().requires_grad_()
    loss(argument).backward()
    return argument.grad


def double(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_slope_of_the_clipped_policy_loss():
    advantage, log_ratio = double(64), 0.3 * double(64, seed=1)

    def loss(log_ratio):
        ratio = log_ratio.exp()
        return -torch.min(advantage * ratio, advantage * ratio.clamp(0.8, 1.2)).mean()

    value, slope = clipped_policy_loss(advantage, log_ratio, 0.2)
    torch.testing.assert_close(value, loss(log_ratio))
    torch.testing.assert_close(slope, of_autograd(loss, log_ratio))
    assert 10 < (slope == 0).sum() < 54


def test_slope_of_the_policy_gradient_loss():
    advantage, log_prob = double(64), double(64, seed=1)
    value, slope = policy_gradient_loss(advantage, log_prob)
    torch.testing.assert_close(value, -(advantage * log_prob).mean())
    torch.testing.assert_close(slope, of_autograd(lambda x: -(advantage * x).mean(), log_prob))


@pytest.mark.parametrize("clip_range_vf", [None, 0.5])
def test_slope_of_the_value_loss(clip_range_vf):
    value, old, ret = double(64), double(64, seed=1), double(64, seed=2)

    def loss(value):
        if clip_range_vf is not None:
            value = old + (value - old).clamp(-clip_range_vf, clip_range_vf)
        return torch.nn.functional.mse_loss(value, ret)

    found, slope = value_loss(value, old, ret, clip_range_vf)
    torch.testing.assert_close(found, loss(value))
    torch.testing.assert_close(slope, of_autograd(loss, value))


def test_value_loss_by_hand():
    value, old, ret = torch.tensor([1.0, 5.0]), torch.tensor([0.5, 2.0]), torch.tensor([3.0, 2.0])
    assert float(value_loss(value, old, ret, None)[0]) == pytest.approx((4.0 + 9.0) / 2)
    # clipped to within 1 of the old values: 1 and 3
    assert float(value_loss(value, old, ret, 1.0)[0]) == pytest.approx((4.0 + 1.0) / 2)
    # clipped to within 0.25: 0.75 and 2.25
    assert float(value_loss(value, old, ret, 0.25)[0]) == pytest.approx((2.25**2 + 0.25**2) / 2)


def test_approximate_kl_by_hand():
    # ratios 2 and 1/2: (2 - 1 - ln 2 + 0.5 - 1 + ln 2) / 2 = 0.25
    ours = approximate_kl(torch.tensor([math.log(2.0), -math.log(2.0)]))
    assert float(ours) == pytest.approx(0.25, rel=1e-6)
    assert float(approximate_kl(torch.zeros(3))) == 0.0


def test_approximate_kl_estimates_the_divergence():
    # KL(old || new) of normals N(0, 1) and N(0.3, 1) is 0.3^2 / 2 = 0.045
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    log_ratio = 0.5 * x**2 - 0.5 * (x - 0.3) ** 2
    assert float(approximate_kl(log_ratio)) == pytest.approx(0.045, rel=0.02)


def test_clip_fraction_is_the_mean_over_minibatches():
    minibatches = [torch.tensor([0.0, 0.5, -0.5, 0.05]), torch.tensor([1.0])]  # 2 of 4, 1 of 1
    assert float(clip_fraction(minibatches, 0.1)) == pytest.approx(0.75)
