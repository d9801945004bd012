"""Running mean and variance, by the parallel update of Chan et al. (1979) as stable-baselines3 uses it."""

from __future__ import annotations

import numpy as np

INITIAL_COUNT = 1e-4
"""Weight of the start values (mean 0, variance 1), as in SB3's RunningMeanStd."""


def update_moments(mean: np.ndarray, var: np.ndarray, count: np.ndarray, batch: np.ndarray) -> None:
    """Fold a batch into the moments, in place.

    Args:
        mean: float64, shape of one observation.
        var: float64, the same shape: the population variance.
        count: float64, shape (): how many samples are in the moments.
        batch: [N, *shape]; sums are taken in float64 for float64 input and in the input's own precision otherwise,
            as NumPy does and SB3 with it.
    """
    n = batch.shape[0]
    batch_mean = np.add.reduce(batch, axis=0) / n  # mean() and var() without what they look up first
    deviation = batch - batch_mean
    batch_var = np.add.reduce(deviation * deviation, axis=0) / n
    merge_moments(mean, var, count, batch_mean, batch_var, n)


def merge_moments(
    mean: np.ndarray,
    var: np.ndarray,
    count: np.ndarray,
    other_mean: np.ndarray,
    other_var: np.ndarray,
    other_count: np.ndarray | int,
) -> None:
    """Fold the moments of other samples into the first three, in place (Chan et al. 1979)."""
    before, n = float(count), float(other_count)
    total = before + n
    delta = other_mean - mean
    var *= before
    var += other_var * n
    var += delta * delta * (before * n / total)
    var /= total
    mean += delta * (n / total)
    count[...] = total


def update_moments_of_steps(mean: np.ndarray, var: np.ndarray, count: np.ndarray, batch_TN: np.ndarray) -> np.ndarray:
    """Fold T batches of N numbers in, one after the other, as T calls of `update_moments` would.

    Args:
        mean, var, count: float64, shape ().
        batch_TN: float64.

    Returns:
        the variance as it stood after each batch, [T].
    """
    n = batch_TN.shape[1]
    means_T = np.add.reduce(batch_TN, axis=1) / n
    squares_T = np.add.reduce(np.square(batch_TN - means_T[:, None]), axis=1)
    m, v, c = float(mean), float(var), float(count)  # plain numbers: a step costs less than one call of NumPy
    variances = []
    for batch_mean, squares in zip(means_T.tolist(), squares_T.tolist(), strict=True):
        total = c + n
        delta = batch_mean - m
        v = (v * c + squares + delta * delta * (c * n / total)) / total
        m += delta * (n / total)
        c = total
        variances.append(v)
    mean[...], var[...], count[...] = m, v, c
    return np.array(variances)
