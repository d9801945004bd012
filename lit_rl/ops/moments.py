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
    batch_var = np.add.reduce(np.square(batch - batch_mean), axis=0) / n
    merge_moments(mean, var, count, batch_mean, batch_var, n)


def merge_moments(
    mean: np.ndarray,
    var: np.ndarray,
    count: np.ndarray,
    other_mean: np.ndarray,
    other_var: np.ndarray,
    other_count: float | np.ndarray,
) -> None:
    """Fold the moments of other samples into the first three, in place (Chan et al. 1979)."""
    delta = other_mean - mean
    total = count + other_count
    var *= count
    var += other_var * other_count
    var += np.square(delta) * (count * other_count / total)
    var /= total
    mean += delta * (other_count / total)
    count[...] = total
