"""Which environments a rank has. Environment i of the run is the same one whatever rank it is on."""

from __future__ import annotations

from lit_rl.errors import ConfigError


def rows_of(rank: int, size: int, n_envs: int) -> range:
    """Global indices of a rank's environments: an equal, contiguous share.

    Args:
        rank: of this process.
        size: how many ranks there are.
        n_envs: environments of the whole run.

    Raises:
        ConfigError: they cannot be shared evenly; names the nearest numbers that can.
    """
    if n_envs % size:
        lower, upper = n_envs - n_envs % size, n_envs - n_envs % size + size
        good = f"{lower} and {upper}" if lower else str(upper)
        raise ConfigError(
            f"env.n_envs is {n_envs}, which {size} ranks (trainer.devices times trainer.num_nodes) cannot share "
            f"evenly; the nearest good numbers are {good}."
        )
    share = n_envs // size
    return range(rank * share, (rank + 1) * share)
