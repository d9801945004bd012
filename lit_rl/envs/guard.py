"""What no environment may send."""

from __future__ import annotations

import numpy as np

from lit_rl.envs.failures import EnvironmentFailed
from lit_rl.envs.vector import StepResult
from lit_rl.ops.tree import Obs, leaves


def check_step(result: StepResult, offset: int, timesteps: int) -> None:
    """Refuse observations and rewards that are not finite, before they touch moments or storage.

    Args:
        result: what the environments sent.
        offset: environment index at position 0.
        timesteps: the run's timestep, for the message.

    Raises:
        EnvironmentFailed: names the environment and what it sent.
    """
    _check("a reward", result.reward, offset, timesteps)
    check_obs(result.obs, offset, timesteps)
    for i, final in result.finals:
        if not result.terminated[i]:  # the value of a truncated episode's last observation is used
            for leaf in leaves(final):
                _check("a last observation", np.asarray(leaf)[None], offset + i, timesteps)


def check_obs(obs: Obs, offset: int, timesteps: int) -> None:
    """The part of `check_step` for observations alone, such as those of a reset."""
    for leaf in leaves(obs):
        _check("an observation", leaf, offset, timesteps)


def _check(what: str, array: np.ndarray, offset: int, timesteps: int) -> None:
    if array.dtype.kind != "f" or np.logical_and.reduce(np.isfinite(array), axis=None):
        return
    bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    i = int(np.flatnonzero(bad)[0])
    raise EnvironmentFailed(
        f"environment {offset + i} sent {what} that is not finite at timestep {timesteps}: {array[i]}"
    )
