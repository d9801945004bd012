"""Random streams derived by counter.

A stream is named by what it is for and by counters (environment index, episode, iteration, epoch), never by what
was drawn before. So nothing has to be saved for it to survive a stop: the counters are enough, and any number of
ranks derives the same streams.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np

_FIRST = {
    "episodes": 1,
    "actions": 2,
    "minibatches": 3,
    "weights": 4,
    "evaluation": 5,
    "curriculum": 6,
    "probe": 7,
    "evaluation_actions": 8,
}
"""Numbers of the names that checkpoints of format 1 were written with. A newer name needs none: see `_number`."""


@functools.cache
def _number(stream: str) -> int:
    """What stands for a stream's name in a key: 64 bits of its sha256, the highest set: none of the first."""
    if stream in _FIRST:
        return _FIRST[stream]
    return int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little") | 1 << 63


def generator(run_seed: int, stream: str, *key: int) -> np.random.Generator:
    """The generator of one stream: NumPy's PCG64 over ``SeedSequence(run_seed, spawn_key=(number of stream, *key))``.

    Args:
        run_seed: the run's seed.
        stream: what it is for. Any name may be used; it is what tells the stream from others.
        key: counters, each at least 0.

    The house's own streams and their keys:

    | stream | what is drawn | key |
    |---|---|---|
    | episodes | the seed of each episode | environment, block of episodes |
    | actions | noise of the sampled actions | environment, block of rollouts |
    | minibatches | order of the minibatches | iteration |
    | weights | initial weights | |
    | reset_weights | weights of networks that begin anew | number of the reset |
    | evaluation | the seed of each episode of an evaluation | timesteps of the run, environment, block of episodes |
    | evaluation_actions | noise of an evaluation's sampled actions | timesteps of the run, level |
    | test_actions | noise of the sampled actions of `test` | level |
    | curriculum | choices of the curriculum | dimension, environment, block of episodes |
    | dimension NAME | what dimensions of a curriculum have in the place of the run's seed | |
    | drawn NAME, bounds | values of an episode; of its own seed, not of the run's | |
    | level_seeds | seeds of levels that are played again | |
    | ladder | level of an environment that went above the top | environment, times before |
    | ladder_start | level that an environment starts on | environment |
    | probe | actions of the check that an environment forgets its past | |
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(run_seed, spawn_key=(_number(stream), *key))))


SEED_BLOCK = 64


class EpisodeSeeds:
    """The seed of every episode of one environment, by episode index.

    Seeds are derived in blocks of 64, because one derivation costs as much as a short episode's reset.
    """

    def __init__(self, run_seed: int, env_index: int, stream: str = "episodes", *key: int) -> None:
        self._run_seed = run_seed
        self._key = (_number(stream), *key, env_index)
        self._block = -1
        self._seeds: list[int] = []

    def __getitem__(self, episode: int) -> int:
        """Seed of episode `episode`, an integer in [0, 2**31)."""
        block, offset = divmod(episode, SEED_BLOCK)
        if block != self._block:
            sequence = np.random.SeedSequence(self._run_seed, spawn_key=(*self._key, block))
            self._seeds = (sequence.generate_state(SEED_BLOCK, np.uint32) >> 1).tolist()
            self._block = block
        return self._seeds[offset]
