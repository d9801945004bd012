"""From the `env` block to the vector environment of one rank, and what its environments can promise."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.curriculum.levels import Level, Mix
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentLost
from lit_rl.envs.slot import Slot
from lit_rl.envs.vector import Grade, SyncVectorEnv, VectorEnv
from lit_rl.envs.workers import AsyncVectorEnv
from lit_rl.errors import ConfigError
from lit_rl.ops.streams import generator

_PROBE_STEPS = 60
_PROBE_EPISODES = 8
"""BipedalWalker-v3 carries its physics world across resets and showed it after 2 of them in 2 runs of 12, after 4
and after 8 in all 12."""
_WORTH_A_PROCESS_S = 400e-6
"""A step of all environments must cost this much before worker processes pay for their messages."""


@dataclass(frozen=True)
class Probe:
    """What a short look at one environment says.

    Args:
        grade: whether an environment brought back by replay behaved the same.
        step_seconds: median time of one step.
        observation_space: with all wrappers.
        action_space: with all wrappers.
    """

    grade: Grade
    step_seconds: float
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]


def probe_levels(config: EnvConfig, run_seed: int, levels: Sequence[Level]) -> Probe:
    """`probe` on every level of a curriculum: the lowest grade and the longest step of all.

    Raises:
        ConfigError: a level cannot be played, or its spaces are not those of the first.
    """
    probes = []
    for i, level in enumerate(levels):
        try:
            probes.append(probe(config, run_seed, [replace(level, mix=Mix())]))
        except ConfigError as error:
            if str(error).startswith("curriculum"):
                raise
            raise ConfigError(f"curriculum.levels[{i}] '{level.name}': {error}") from error
        for what in ("observation_space", "action_space"):
            first, this = getattr(probes[0], what), getattr(probes[i], what)
            if first != this:
                raise ConfigError(
                    f"curriculum.levels[{i}] '{level.name}': the environment's {what} becomes {this}, and level 0 has "
                    f"{first}; one policy needs the same on all levels."
                )
    grade: Grade = "exact" if all(looked.grade == "exact" for looked in probes) else "boundary"
    return replace(probes[0], grade=grade, step_seconds=max(looked.step_seconds for looked in probes))


def probe(config: EnvConfig, run_seed: int, levels: Sequence[Level] = ()) -> Probe:
    """Play an environment, bring it back elsewhere by replay, and compare.

    One instance plays some steps of several episodes, cutting each off, and each but the first is replayed in a new
    one. Both belong to the check alone: their seeds and actions come from a stream of its own. Wrappers that make
    episodes of lives do not reset in mid-game; there one episode is played and replayed. Where `on_env_crash` is
    `restart`, an environment that raises is looked at no further; what resume brings back is checked then, too.
    """
    rng = generator(run_seed, "probe")
    played = Slot(config, run_seed, 0, "probe", levels)
    exact: bool | None = None
    try:
        seconds = _play(played, rng, _PROBE_STEPS)
        for i in range(1, _PROBE_EPISODES):
            # one step more each time: where every episode has the same length, some must be cut in the middle
            seconds = _play(played, rng, _PROBE_STEPS + i)
            if not played.truly_reset:
                break  # lives: where we cut is not in the action log
            exact = _comes_back(played, config, run_seed, levels)
            if not exact:
                break
        if exact is None:
            played.close()
            played = Slot(config, run_seed, 0, "probe", levels)
            seconds = _play(played, rng, _PROBE_STEPS)
            exact = _comes_back(played, config, run_seed, levels)
    except EnvironmentLost:
        if config.on_env_crash != "restart":
            raise
        seconds, exact = 0.0, exact is not False
    finally:
        played.close()
    return Probe(
        "exact" if exact else "boundary",
        seconds,
        played.env.observation_space,
        played.env.action_space,
    )


def _comes_back(played: Slot, config: EnvConfig, run_seed: int, levels: Sequence[Level]) -> bool:
    replayed = Slot(config, run_seed, 0, "probe", levels)
    try:
        return replayed.restore(played.capture())[1]
    finally:
        replayed.close()


def _play(slot: Slot, rng: np.random.Generator, steps: int) -> float:
    """Begin an episode and take some random steps; returns the median time of one, in seconds."""
    slot.begin()
    times = []
    for _ in range(steps):
        action = random_action(slot.env.action_space, rng)
        start = time.perf_counter()
        slot.step(action)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def random_action(space: spaces.Space[Any], rng: np.random.Generator) -> Any:
    """A uniform action of a supported space, drawn from `rng` and not from the space's own stream."""
    if isinstance(space, spaces.Discrete):
        return np.int64(rng.integers(int(space.n)))
    if isinstance(space, spaces.MultiDiscrete):
        return rng.integers(space.nvec).astype(space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return rng.integers(2, size=space.shape).astype(space.dtype)
    assert isinstance(space, spaces.Box)
    low = np.where(np.isfinite(space.low), space.low, -1.0)
    high = np.where(np.isfinite(space.high), space.high, 1.0)
    return rng.uniform(low, high).astype(space.dtype)


def make_vector(
    config: EnvConfig, run_seed: int, rows: range, levels: Sequence[Level] = (), sharing: int = 1
) -> VectorEnv:
    """The environments `rows` (global indices) of the run, with the levels of its curriculum, if it has one.

    `auto` takes worker processes where a step of all environments is dear and there is more than one core, and steps
    them in this process otherwise. Both resume exactly and neither changes what is learned. With `step_timeout` it
    takes worker processes always. `sharing` is how many ranks share this machine's cores.
    """
    if config.backend == "native":
        if levels:
            raise ConfigError(
                "curriculum: env.backend: native steps all environments in one array, which cannot be on levels of "
                "their own; use backend: sync or async."
            )
        from lit_rl.envs.native import NativeVectorEnv

        return NativeVectorEnv(config, run_seed, rows)
    looked = probe_levels(config, run_seed, levels) if levels else probe(config, run_seed)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = max(cores // sharing, 1)
    n_workers = min(config.n_workers or cores, len(rows))
    backend = config.backend
    if backend == "auto":
        dear = looked.step_seconds * len(rows) > _WORTH_A_PROCESS_S
        can_be_left = config.step_timeout is not None  # an environment that hangs, which takes a process of its own
        backend = "async" if can_be_left or (dear and cores > 1 and n_workers > 1) else "sync"
    envs: VectorEnv
    if backend == "async":
        envs = AsyncVectorEnv(
            config,
            run_seed,
            rows,
            n_workers,
            looked.observation_space,
            looked.action_space,
            levels=levels,
        )
    elif backend == "sync":
        envs = SyncVectorEnv(config, run_seed, rows, levels=levels)
    else:
        raise ConfigError(f"env.backend: '{backend}' is not one of auto, sync, async, native.")
    envs.grade = looked.grade
    return envs
