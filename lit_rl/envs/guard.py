"""What no environment may send."""

from __future__ import annotations

import numpy as np

from lit_rl.envs.vector import EnvironmentFailed, StepResult
from lit_rl.ops.tree import leaves


def check_step(result: StepResult, offset: int, timesteps: int) -> None:
    """Refuse observations and rewards that are not finite, before they touch moments or storage.

    Args:
        result: what the environments sent.
        offset: global index of the first row.
        timesteps: the run's timestep, for the message.

    Raises:
        EnvironmentFailed: names the environment and what it sent.
    """
    for what, array in [("reward", result.reward), *(("observation", leaf) for leaf in leaves(result.obs))]:
        if array.dtype.kind != "f" or np.isfinite(array.sum()):  # a sum that overflows is looked at below
            continue
        bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise EnvironmentFailed(
                f"environment {offset + row} sent a {what} that is not finite at timestep {timesteps}: {array[row]}"
            )
