"""Storage of a rollout: what type each space is kept as, views, and minibatches."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from lit_rl.data.rollout import Batch, RolloutStorage, batch_of, torch_dtype


@pytest.mark.parametrize(
    ("space", "dtype"),
    [
        (spaces.Box(-1, 1, (2,), np.float32), torch.float32),
        (spaces.Box(-1, 1, (2,), np.float64), torch.float32),
        (spaces.Box(0, 255, (3, 4, 4), np.uint8), torch.uint8),
        (spaces.Discrete(5), torch.int64),
        (spaces.MultiDiscrete([2, 3]), torch.int64),
        (spaces.MultiBinary(3), torch.int64),
    ],
)
def test_observations_are_kept_as_they_are_and_floats_as_float32(space, dtype):
    assert torch_dtype(space) == dtype
    batch = batch_of(space, 4, 2)
    assert (batch.dtype, batch.shape) == (dtype, (4, 2, *space.shape))


@pytest.mark.parametrize(
    ("space", "shape", "dtype"),
    [
        (spaces.Discrete(5), (), torch.int64),
        (spaces.MultiDiscrete([2, 3]), (2,), torch.int64),
        (spaces.MultiBinary(3), (3,), torch.int64),
        (spaces.Box(-1, 1, (2, 3)), (6,), torch.float32),
    ],
)
def test_actions_have_the_shape_the_policy_gives_them(space, shape, dtype):
    storage = RolloutStorage(4, 2, spaces.Discrete(2), space)
    assert (storage.action.shape, storage.action.dtype) == ((4, 2, *shape), dtype)
    assert storage.flat_action().shape == (8, *shape)


def test_what_is_written_through_numpy_is_read_through_torch_time_major():
    space = spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Discrete(7))
    storage = RolloutStorage(3, 2, space, spaces.Discrete(2))
    storage.obs_np["b"][:] = np.arange(6).reshape(3, 2)
    storage.obs_np["a"][1, 0] = [0.5, -0.5]
    flat = storage.flat_obs()
    assert flat["b"].tolist() == [0, 1, 2, 3, 4, 5]
    assert flat["a"][2].tolist() == [0.5, -0.5]


def test_memory_is_counted():
    storage = RolloutStorage(3, 2, spaces.Box(0, 255, (4,), np.uint8), spaces.Discrete(2))
    # 24 bytes of observations, 6 actions of 8, 6 rewards of 4, 6 ends of 1
    assert storage.nbytes() == 24 + 48 + 24 + 6


def numbered(n):
    x = torch.arange(float(n))
    return Batch({"a": x.unsqueeze(1), "b": x.long()}, x.long(), x, x + 100, x + 200, x + 300)


def test_minibatches_follow_the_order_and_every_field_with_it():
    order = torch.tensor([3, 1, 4, 0, 2])
    minibatches = list(numbered(5).minibatches(order, 2))
    assert [len(minibatch) for minibatch in minibatches] == [2, 2, 1]
    assert [m.log_prob.tolist() for m in minibatches] == [[3, 1], [4, 0], [2]]
    for minibatch in minibatches:
        index = minibatch.log_prob
        assert torch.equal(minibatch.obs["a"][:, 0], index)
        assert torch.equal(minibatch.obs["b"], index.long())
        assert torch.equal(minibatch.action, index.long())
        assert torch.equal(minibatch.value, index + 100)
        assert torch.equal(minibatch.advantage, index + 200)
        assert torch.equal(minibatch.ret, index + 300)


def test_a_size_above_the_whole_gives_one_minibatch():
    assert [len(m) for m in numbered(5).minibatches(torch.arange(5), 64)] == [5]
