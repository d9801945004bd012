"""Which backend is the faster one here: both are tried before the run, and the bits are the same with either."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from lit_rl.envs.failures import EnvironmentFailed
from lit_rl.envs.own_streams import put_back
from lit_rl.envs.parallel.vector import AsyncVectorEnv
from lit_rl.envs.probe import random_action
from lit_rl.envs.sync import SyncVectorEnv
from lit_rl.envs.vector import VectorEnv
from lit_rl.ops.streams import generator

WORTH_TRYING_S = 120e-6
"""A step of all environments that costs less gains nothing from another process, whatever the machine."""
_CLEAR_S = 5e-3
"""One that costs more gains for certain: nothing needs to be tried."""
_ROUNDS = 5
_ROUND_S, _STEPS = 0.02, 3
"""What a round takes, in seconds, and the fewest steps in it."""
_PAYS = 0.9
"""Worker processes are taken if a step with them takes at most this share of the time it takes without."""


def faster(run_seed: int, alone: Callable[[str], SyncVectorEnv], workers: Callable[[], AsyncVectorEnv]) -> VectorEnv:
    """The faster of the two for a step of all environments, which says why in `why`; no episode of it has begun.

    Args:
        run_seed: the run's seed.
        alone: makes them in this process, with episodes of the family of seeds that it is given.
        workers: makes them in worker processes.
    """
    tried = alone("probe")
    rng = generator(run_seed, "probe")
    try:
        with put_back():
            tried.reset()
            seconds = _time(tried, rng)
            if seconds > _CLEAR_S:
                return _because(workers(), f"a step of all takes {_ms(seconds)} in this process")
            parallel = workers()
            try:
                parallel.reset()
                here, there = _in_turn(tried, parallel, rng)
                if there < _PAYS * here:
                    parallel.begin_again()
                    return _because(parallel, f"a step of all takes {_ms(there)}, in this process {_ms(here)}")
                parallel.close()
            except BaseException:
                parallel.close()
                raise
    except EnvironmentFailed:  # its time has yet to come
        return alone("episodes")
    finally:
        tried.close()
    return _because(alone("episodes"), f"a step of all takes {_ms(here)}, with worker processes {_ms(there)}")


def _because(envs: VectorEnv, why: str) -> VectorEnv:
    envs.why = why
    return envs


def _in_turn(here: VectorEnv, there: VectorEnv, rng: np.random.Generator) -> tuple[float, float]:
    """Seconds that a step takes with either, the quietest of some rounds in turn."""
    times = [(_time(here, rng), _time(there, rng)) for _ in range(_ROUNDS)]
    return min(each[0] for each in times), min(each[1] for each in times)


def _time(envs: VectorEnv, rng: np.random.Generator) -> float:
    """Median time of a step, in seconds, of as many as a round has time for."""
    action = _actions(envs, rng)
    times: list[float] = []
    while len(times) < _STEPS or sum(times) < _ROUND_S:
        if envs.masks is not None:
            action = _actions(envs, rng)
        start = time.perf_counter()
        envs.step(action)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _actions(envs: VectorEnv, rng: np.random.Generator) -> np.ndarray:
    masks = [None] * envs.n_envs if envs.masks is None else envs.masks
    return np.stack([random_action(envs.action_space, rng, mask) for mask in masks])


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2g} ms"
