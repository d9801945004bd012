"""GAE and explained variance against stable-baselines3 and against numbers worked by hand."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.utils import explained_variance as sb3_explained_variance

from lit_rl.ops.returns import explained_variance, gae

T, N = 37, 5


def sb3_gae(reward, value, done, last_value, gamma, gae_lambda):
    buffer = RolloutBuffer(
        T, spaces.Box(-1, 1, (1,)), spaces.Discrete(2), "cpu", gae_lambda=gae_lambda, gamma=gamma, n_envs=N
    )
    buffer.rewards, buffer.values = reward.copy(), value.copy()
    # SB3 keeps whether an episode starts at t, which is whether one ended at t - 1
    buffer.episode_starts = np.concatenate([np.zeros((1, N)), done[:-1]]).astype(np.float32)
    buffer.compute_returns_and_advantage(torch.from_numpy(last_value), done[-1])
    return buffer.advantages, buffer.returns


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("gae_lambda", [0.0, 0.95, 1.0])
@pytest.mark.parametrize("done_rate", [0.0, 0.15, 1.0])
def test_equal_to_sb3(gamma, gae_lambda, done_rate):
    rng = np.random.default_rng(int(gamma * 100 + gae_lambda * 10 + done_rate * 7))
    reward, value = rng.normal(size=(2, T, N)).astype(np.float32)
    done = rng.random((T, N)) < done_rate
    last_value = rng.normal(size=N).astype(np.float32)
    advantage, ret = gae(reward, value, done, last_value, gamma, gae_lambda)
    theirs = sb3_gae(reward, value, done, last_value, gamma, gae_lambda)
    np.testing.assert_allclose(advantage, theirs[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ret, theirs[1], rtol=1e-5, atol=1e-6)
    assert advantage.dtype == ret.dtype == np.float32


def column(*numbers):
    return np.array(numbers, dtype=np.float32).reshape(-1, 1)


def test_by_hand_without_an_end():
    # delta: 1 + 0.5*4 - 2 = 1, 2 + 0.5*8 - 4 = 2; advantages: 2, 1 + 0.25*2 = 1.5
    advantage, ret = gae(column(1, 2), column(2, 4), np.zeros((2, 1), bool), np.array([8], np.float32), 0.5, 0.5)
    np.testing.assert_array_equal(advantage, column(1.5, 2))
    np.testing.assert_array_equal(ret, column(3.5, 6))


def test_by_hand_a_termination_cuts_value_and_advantage():
    # the episode ends with step 0: delta 1 - 2 = -1, and nothing of what follows comes back
    done = np.array([[True], [False]])
    advantage, ret = gae(column(1, 2), column(2, 4), done, np.array([8], np.float32), 0.5, 0.5)
    np.testing.assert_array_equal(advantage, column(-1, 2))
    np.testing.assert_array_equal(ret, column(1, 6))


def test_by_hand_a_truncation_keeps_its_value_through_the_reward():
    # the caller adds gamma * V(final) = 0.5 * 6 to the reward: delta (1 + 3) - 2 = 2
    done = np.array([[True], [False]])
    advantage, ret = gae(column(1 + 3, 2), column(2, 4), done, np.array([8], np.float32), 0.5, 0.5)
    np.testing.assert_array_equal(advantage, column(2, 2))
    np.testing.assert_array_equal(ret, column(4, 6))


def test_inputs_are_left_as_they_were():
    reward, value, done = column(1, 2), column(3, 4), np.zeros((2, 1), bool)
    last = np.array([5], np.float32)
    gae(reward, value, done, last, 0.9, 0.9)
    np.testing.assert_array_equal(reward, column(1, 2))
    np.testing.assert_array_equal(value, column(3, 4))
    np.testing.assert_array_equal(last, [5])


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
def test_explained_variance_equals_sb3(noise):
    rng = np.random.default_rng(3)
    target = rng.normal(2.0, 1.5, 500).astype(np.float32)
    predicted = (target + noise * rng.normal(size=500)).astype(np.float32)
    ours = explained_variance(torch.from_numpy(predicted), torch.from_numpy(target))
    assert ours == pytest.approx(float(sb3_explained_variance(predicted, target)), rel=1e-5, abs=1e-6)


def test_explained_variance_by_hand():
    assert explained_variance(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 3.0])) == 0.0
    assert explained_variance(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 3.0])) == -3.0
    assert np.isnan(explained_variance(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 2.0])))
