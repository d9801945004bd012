"""From the `env` block to the vector environment of one rank."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from lit_rl.curriculum.levels import Level
from lit_rl.envs.candidates import WORTH_TRYING_S, faster
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentFailed, EnvironmentLost
from lit_rl.envs.parallel.line import can_watch
from lit_rl.envs.parallel.vector import AsyncVectorEnv
from lit_rl.envs.probe import Probe, probe, probe_levels
from lit_rl.envs.sync import SyncVectorEnv
from lit_rl.envs.vector import VectorEnv
from lit_rl.errors import ConfigError


def make_vector(
    config: EnvConfig,
    run_seed: int,
    indices: range,
    levels: Sequence[Level] = (),
    sharing: int = 1,
    resuming: bool = False,
) -> VectorEnv:
    """The environments of the run with these indices, with the levels of its curriculum, if it has one.

    `auto` tries worker processes where a step of all environments is worth it and there is more than one core, and
    takes what is faster. Both resume exactly and neither changes what is learned. With `step_timeout` it takes worker
    processes always. Where `n_workers` is not given, this process steps a share itself, unless an environment may take
    its process down. `sharing` is how many ranks share this machine's cores. When
    `resuming`, an environment that raises in the look before is no reason to stop: its time has yet to come.
    """
    if config.backend == "native":
        if levels:
            raise ConfigError(
                "curriculum: env.backend: native steps all environments in one array, which cannot be on levels of "
                "their own; use backend: sync or async."
            )
        from lit_rl.envs.native import NativeVectorEnv

        return NativeVectorEnv(config, run_seed, indices)
    probed = _look(config, run_seed, levels, resuming)
    config = replace(config, global_streams="own" if probed.draws else "shared")
    if probed.out_of_bounds is not None and indices.start == 0:  # one rank says it
        print(
            f"WARNING: env {config.name} sends {probed.out_of_bounds}; nothing that is learned depends on that.",
            file=sys.stderr,
            flush=True,
        )
    cores, n = max(cores_here() // sharing, 1), len(indices)
    may_fall = config.step_timeout is not None or config.on_env_crash == "restart"
    shares = config.n_workers is None and not may_fall and cores > 1 and n > 1
    n_workers = min(config.n_workers or cores, n) - shares

    def alone(stream: str) -> SyncVectorEnv:
        return SyncVectorEnv(config, run_seed, indices, stream, levels=levels)

    def workers() -> AsyncVectorEnv:
        watches = can_watch(n_workers + 1, cores)
        spaces = (probed.observation_space, probed.action_space)
        return AsyncVectorEnv(
            config, run_seed, indices, n_workers, *spaces, levels=levels, shares=shares, watches=watches
        )

    backend = config.backend
    if backend == "auto" and config.step_timeout is not None:
        backend = "async"
    envs: VectorEnv
    if backend == "auto" and cores > 1 and n > 1 and probed.step_seconds * n > WORTH_TRYING_S:
        envs = faster(run_seed, alone, workers)
    else:
        envs = workers() if backend == "async" else alone("episodes")
    envs.grade, envs.own_streams = probed.grade, probed.draws
    envs.own_spaces = probed.own_spaces or envs.own_spaces
    return envs


def cores_here() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _look(config: EnvConfig, run_seed: int, levels: Sequence[Level], resuming: bool) -> Probe:
    """The look before the run: what is wrong with what an environment sends is a mistake in the run's set-up yet."""
    try:
        if levels:
            return probe_levels(config, run_seed, levels, resuming)
        return probe(config, run_seed, resuming=resuming)
    except EnvironmentLost:
        raise
    except EnvironmentFailed as error:
        raise ConfigError(f"{error} Seen in the look before the run.") from None
