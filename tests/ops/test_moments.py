"""Running moments against stable-baselines3's RunningMeanStd and against the moments of everything seen."""

import numpy as np
import pytest
from stable_baselines3.common.running_mean_std import RunningMeanStd

from lit_rl.ops.moments import INITIAL_COUNT, update_moments, update_moments_of_steps


def fresh(shape):
    return np.zeros(shape), np.ones(shape), np.array(INITIAL_COUNT)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_equal_to_sb3_over_batches_of_any_size(shape, dtype):
    rng = np.random.default_rng(1)
    theirs, (mean, var, count) = RunningMeanStd(shape=shape), fresh(shape)
    for size in [1, 8, 1, 3, 64, 1, 1000, 2]:
        batch = (rng.normal(100.0, 20.0, (size, *shape))).astype(dtype)
        theirs.update(batch)
        update_moments(mean, var, count, batch)
        np.testing.assert_allclose(mean, theirs.mean, rtol=1e-12)
        np.testing.assert_allclose(var, theirs.var, rtol=1e-12)
        assert float(count) == pytest.approx(theirs.count, rel=1e-15)
    assert mean.dtype == var.dtype == count.dtype == np.float64


def test_they_are_the_moments_of_all_samples():
    rng = np.random.default_rng(2)
    batches = [rng.normal([3.0, -50.0], [0.1, 7.0], (size, 2)) for size in (1, 17, 400, 3)]
    mean, var, count = fresh((2,))
    for batch in batches:
        update_moments(mean, var, count, batch)
    everything = np.concatenate(batches)
    np.testing.assert_allclose(mean, everything.mean(axis=0), rtol=1e-5)
    # the start values weigh 1e-4 of a sample: enough to see where the mean is far from 0
    np.testing.assert_allclose(var, everything.var(axis=0), rtol=1e-2)


def test_the_batch_is_left_as_it_was():
    batch = np.arange(6.0).reshape(3, 2)
    update_moments(*fresh((2,)), batch)
    np.testing.assert_array_equal(batch, np.arange(6.0).reshape(3, 2))


def test_many_steps_at_once_equal_sb3_step_by_step():
    rng = np.random.default_rng(3)
    theirs, (mean, var, count) = RunningMeanStd(shape=()), fresh(())
    for steps in (1, 40, 7):
        batch = rng.normal(5.0, 3.0, (steps, 8))
        expected = []
        for row in batch:
            theirs.update(row)
            expected.append(float(theirs.var))
        np.testing.assert_allclose(update_moments_of_steps(mean, var, count, batch), expected, rtol=1e-12)
    np.testing.assert_allclose([mean, var, count], [theirs.mean, theirs.var, theirs.count], rtol=1e-12)
