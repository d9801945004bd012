"""From the `env` block to the vector environment of one rank."""

from __future__ import annotations

import os
from collections.abc import Sequence

from lit_rl.curriculum.levels import Level
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.parallel.vector import AsyncVectorEnv
from lit_rl.envs.probe import probe, probe_levels
from lit_rl.envs.sync import SyncVectorEnv
from lit_rl.envs.vector import VectorEnv
from lit_rl.errors import ConfigError

_WORTH_A_PROCESS_S = 400e-6
"""A step of all environments must cost this much before worker processes pay for their messages."""


def make_vector(
    config: EnvConfig, run_seed: int, indices: range, levels: Sequence[Level] = (), sharing: int = 1
) -> VectorEnv:
    """The environments of the run with these indices, with the levels of its curriculum, if it has one.

    `auto` takes worker processes where a step of all environments is expensive and there is more than one core, and
    steps them in this process otherwise. Both resume exactly and neither changes what is learned. With `step_timeout`
    it takes worker processes always. `sharing` is how many ranks share this machine's cores.
    """
    if config.backend == "native":
        if levels:
            raise ConfigError(
                "curriculum: env.backend: native steps all environments in one array, which cannot be on levels of "
                "their own; use backend: sync or async."
            )
        from lit_rl.envs.native import NativeVectorEnv

        return NativeVectorEnv(config, run_seed, indices)
    probed = probe_levels(config, run_seed, levels) if levels else probe(config, run_seed)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = max(cores // sharing, 1)
    n_workers = min(config.n_workers or cores, len(indices))
    backend = config.backend
    if backend == "auto":
        expensive = probed.step_seconds * len(indices) > _WORTH_A_PROCESS_S
        can_be_left = config.step_timeout is not None  # an environment that hangs, which takes a process of its own
        backend = "async" if can_be_left or (expensive and cores > 1 and n_workers > 1) else "sync"
    envs: VectorEnv
    if backend == "async":
        envs = AsyncVectorEnv(
            config,
            run_seed,
            indices,
            n_workers,
            probed.observation_space,
            probed.action_space,
            levels=levels,
        )
    else:
        envs = SyncVectorEnv(config, run_seed, indices, levels=levels)
    envs.grade = probed.grade
    return envs
