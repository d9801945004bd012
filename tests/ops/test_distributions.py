"""Action distributions against stable-baselines3's own objects, and against what their noise has to give."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common import distributions as sb3

from lit_rl.ops.distributions import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    MultiCategorical,
    StateDependentNoise,
    for_action_space,
)

B, H = 64, 7
LATENT = torch.zeros(B, H)
GSDE = [
    pytest.param(full, expln, squash, id=f"full_std={full}-expln={expln}-squash={squash}")
    for full in (True, False)
    for expln in (True, False)
    for squash in (True, False)
]


def normal(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def compare(ours, theirs, head, extra, latent, action, their_action=None):
    """Log-probability, entropy and mode of both on the same actions."""
    log_prob, entropy = ours.log_prob_entropy(head, extra, latent, action)
    torch.testing.assert_close(
        log_prob, theirs.log_prob(action if their_action is None else their_action), rtol=1e-5, atol=1e-5
    )
    their_entropy = theirs.entropy()
    if their_entropy is None:
        assert entropy is None
    else:
        torch.testing.assert_close(entropy, their_entropy, rtol=1e-5, atol=1e-5)
    assert log_prob.shape == (B,)
    their_mode = theirs.mode()
    torch.testing.assert_close(ours.mode(head).to(their_mode.dtype), their_mode)


def test_discrete_equals_sb3():
    head = normal(B, 5, scale=3.0)
    theirs = sb3.CategoricalDistribution(5).proba_distribution(head)
    compare(Categorical(5), theirs, head, None, LATENT, torch.arange(B) % 5)


def test_multi_discrete_equals_sb3():
    head = normal(B, 9, scale=3.0)
    theirs = sb3.MultiCategoricalDistribution([2, 3, 4]).proba_distribution(head)
    action = torch.stack([torch.arange(B) % n for n in (2, 3, 4)], dim=1)
    compare(MultiCategorical((2, 3, 4)), theirs, head, None, LATENT, action)


def test_multi_binary_equals_sb3():
    head = normal(B, 4, scale=3.0)
    head[0] = 0.0  # a tie: SB3's mode is 0
    theirs = sb3.BernoulliDistribution(4).proba_distribution(head)
    action = (normal(B, 4, seed=1) > 0).long()
    compare(Bernoulli(4), theirs, head, None, LATENT, action, action.float())


@pytest.mark.parametrize("log_std", [-2.0, 0.0, 1.5])
def test_box_equals_sb3(log_std):
    head, extra = normal(B, 3), torch.tensor([log_std, log_std + 0.3, -0.5])
    theirs = sb3.DiagGaussianDistribution(3).proba_distribution(head, extra)
    action = head + 2.0 * normal(B, 3, seed=1)
    compare(DiagonalGaussian(3), theirs, head, extra, LATENT, action)


def gsde_pair(full, expln, squash, dim=3):
    theirs = sb3.StateDependentNoiseDistribution(dim, full_std=full, use_expln=expln, squash_output=squash)
    theirs.proba_distribution_net(H, 0.0, H)
    ours = StateDependentNoise(dim, H, full, expln, squash, theirs.epsilon)
    return ours, theirs


@pytest.mark.parametrize(("full", "expln", "squash"), GSDE)
def test_gsde_equals_sb3(full, expln, squash):
    ours, theirs = gsde_pair(full, expln, squash)
    head, latent = normal(B, 3), normal(B, H, seed=1)
    extra = normal(H, 3 if full else 1, seed=2)  # below and above 0: both branches of expln
    theirs.proba_distribution(head, extra, latent)
    action = head + normal(B, 3, seed=3)
    compare(ours, theirs, head, extra, latent, torch.tanh(action) if squash else action)


@pytest.mark.parametrize(("full", "expln", "squash"), GSDE)
def test_gsde_samples_what_sb3_samples_with_the_same_matrices(full, expln, squash):
    ours, theirs = gsde_pair(full, expln, squash)
    head, latent, extra = normal(B, 3), normal(B, H, seed=1), normal(H, 3 if full else 1, seed=2)
    theirs.sample_weights(extra, batch_size=B)
    noise = theirs.exploration_matrices / theirs.get_std(extra)
    action = ours.sample(head, extra, latent, noise)
    torch.testing.assert_close(action, theirs.proba_distribution(head, extra, latent).sample(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("squash", [True, False])
def test_gsde_gradients_equal_sb3(squash):
    ours, theirs = gsde_pair(True, False, squash)
    latent, action = normal(B, H, seed=1), normal(B, 3, seed=3)
    action = torch.tanh(action) if squash else action
    grads = []
    for mine in (True, False):
        head, extra = normal(B, 3).requires_grad_(), normal(H, 3, seed=2, scale=0.3).requires_grad_()
        seen = latent.clone().requires_grad_()
        if mine:
            log_prob, entropy = ours.log_prob_entropy(head, extra, seen, action)
        else:
            theirs.proba_distribution(head, extra, seen)
            log_prob, entropy = theirs.log_prob(action), theirs.entropy()
        (log_prob.sum() + (0 if entropy is None else entropy.sum())).backward()
        grads.append((head.grad, extra.grad, seen.grad))
    torch.testing.assert_close(grads[0][:2], grads[1][:2], rtol=1e-4, atol=1e-4)
    assert grads[0][2] is None
    assert grads[1][2] is None


def test_squashed_extremes_are_finite():
    ours, _ = gsde_pair(True, False, True)
    head, latent, extra = normal(B, 3), normal(B, H, seed=1), normal(H, 3, seed=2)
    action = torch.ones(B, 3)
    action[1:] *= -1
    log_prob, _ = ours.log_prob_entropy(head, extra, latent, action)
    assert torch.isfinite(log_prob).all()


# -- what the noise gives: one row of outputs, many draws --

DRAWS = 40_000


def draw(distribution, head, extra=None, latent=None):
    noise = torch.from_numpy(distribution.noise(np.random.default_rng(11), DRAWS))
    rows = head.expand(DRAWS, -1)
    latent = torch.zeros(DRAWS, 1) if latent is None else latent.expand(DRAWS, -1)
    return distribution.sample(rows, extra, latent, noise)


def chi_square(action, probability):
    counts = np.bincount(action.numpy(), minlength=len(probability))
    expected = DRAWS * np.asarray(probability)
    return float(((counts - expected) ** 2 / expected).sum())


def test_discrete_actions_come_as_often_as_they_should():
    action = draw(Categorical(4), torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])))
    assert chi_square(action, [0.5, 0.3, 0.15, 0.05]) < 16.3  # 99.9% with 3 degrees of freedom


def test_multi_discrete_actions_come_as_often_as_they_should_and_independently():
    first, second = np.array([0.8, 0.2]), np.array([0.1, 0.2, 0.7])
    head = torch.log(torch.tensor([[*first, *second]], dtype=torch.float32))
    action = draw(MultiCategorical((2, 3)), head)
    joint = np.outer(first, second).ravel()
    assert chi_square(action[:, 0] * 3 + action[:, 1], joint) < 20.5  # 5 degrees of freedom


def test_multi_binary_actions_come_as_often_as_they_should_and_independently():
    p = np.array([0.5, 0.9, 0.2])
    action = draw(Bernoulli(3), torch.logit(torch.tensor([p.tolist()])))
    joint = [np.prod(np.where([bits >> 2 & 1, bits >> 1 & 1, bits & 1], p, 1 - p)) for bits in range(8)]
    assert chi_square(action[:, 0] * 4 + action[:, 1] * 2 + action[:, 2], joint) < 24.3  # 7 degrees


def test_box_actions_have_mean_and_deviation():
    action = draw(DiagonalGaussian(2), torch.tensor([[1.0, -3.0]]), torch.log(torch.tensor([0.5, 2.0])))
    error = 4 / np.sqrt(DRAWS)  # four standard errors in units of the deviation
    np.testing.assert_allclose(action.mean(dim=0), [1.0, -3.0], atol=2.0 * error)
    np.testing.assert_allclose(action.std(dim=0), [0.5, 2.0], rtol=error)
    assert abs(np.corrcoef(action.T)[0, 1]) < error


@pytest.mark.parametrize("squash", [True, False])
def test_gsde_actions_have_mean_and_deviation(squash):
    distribution = StateDependentNoise(1, 2, squash=squash)
    std, latent = torch.tensor([[0.5], [2.0]]), torch.tensor([[2.0, 0.25]])
    action = draw(distribution, torch.tensor([[0.3]]), std.log(), latent)
    gaussian = torch.atanh(action.double()) if squash else action
    # the deviation is sqrt((2 * 0.5)^2 + (0.25 * 2)^2)
    error = 4 / np.sqrt(DRAWS)
    assert float(gaussian.mean()) == pytest.approx(0.3, abs=1.25**0.5 * error)
    assert float(gaussian.std()) == pytest.approx(1.25**0.5, rel=error)


@pytest.mark.parametrize(
    ("space", "distribution"),
    [
        (spaces.Discrete(3), Categorical(3)),
        (spaces.MultiDiscrete([2, 5]), MultiCategorical((2, 5))),
        (spaces.MultiBinary(4), Bernoulli(4)),
        (spaces.Box(-1, 1, (2, 3)), DiagonalGaussian(6)),
    ],
)
def test_each_space_has_its_distribution(space, distribution):
    assert for_action_space(space) == distribution


def test_other_spaces_have_none():
    with pytest.raises(TypeError, match="Tuple"):
        for_action_space(spaces.Tuple((spaces.Discrete(2),)))
