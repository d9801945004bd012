"""The loss of quantiles and its slope, against sb3-contrib's loss and torch's autograd, in double precision."""

import pytest
import torch

from lit_rl.ops.quantiles import midpoints, quantile_huber_loss

theirs = pytest.importorskip("sb3_contrib.common.utils").quantile_huber_loss


def test_levels_lie_in_the_middle() -> None:
    assert midpoints(4, torch.zeros(())).tolist() == [0.125, 0.375, 0.625, 0.875]


def test_a_pair_by_hand() -> None:
    """One quantile is the median: half of Huber's loss of each pair; two pull with their levels."""
    loss, slope = quantile_huber_loss(torch.tensor([[1.0]]), torch.tensor([[3.0]]), None, summed=True)
    assert (float(loss), float(slope)) == (0.5 * 1.5, -0.5)
    loss, slope = quantile_huber_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.5]]), None, summed=True)
    assert float(loss) == 0.25 * 0.125 + 0.75 * 0.125
    assert slope.tolist() == [[-0.125, -0.375]]
    below = quantile_huber_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[-0.5]]), None, summed=False)
    assert below[1].tolist() == [[0.375 / 2, 0.125 / 2]]


@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize("critics", [None, 3])
def test_equal_to_sb3_contribs_and_to_autograd(critics: int | None, summed: bool) -> None:
    torch.manual_seed(0)
    shape = (6, 5) if critics is None else (critics, 6, 5)
    value = (2 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    target = 2 * torch.randn(6, 4, dtype=torch.float64)
    levels = midpoints(5, value.detach()).view(-1, 1)  # sb3-contrib's own are float32
    given = (value, target) if critics is None else (value.transpose(0, 1), target[:, None])
    expected = theirs(*given, cum_prob=levels, sum_over_quantiles=summed)
    expected.backward()
    loss, slope = quantile_huber_loss(value.detach(), target, None, summed)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(slope, value.grad)


@pytest.mark.parametrize("critics", [None, 3])
def test_each_transition_has_its_weight(critics: int | None) -> None:
    torch.manual_seed(0)
    shape = (6, 5) if critics is None else (critics, 6, 5)
    value, target, weight = torch.randn(shape), torch.randn(6, 4), torch.rand(6)
    loss, slope = quantile_huber_loss(value, target, weight, summed=True)
    alone = [
        quantile_huber_loss(value[..., i : i + 1, :], target[i : i + 1], None, summed=True) for i in range(len(weight))
    ]
    torch.testing.assert_close(loss, torch.stack([w * each for w, (each, _) in zip(weight, alone, strict=True)]).mean())
    joined = torch.cat([w * each / len(weight) for w, (_, each) in zip(weight, alone, strict=True)], dim=-2)
    torch.testing.assert_close(slope, joined)
