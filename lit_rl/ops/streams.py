"""Random streams derived by counter.

A stream is named by what it is for and by counters (environment index, episode, iteration, epoch), never by what
was drawn before. So nothing has to be saved for it to survive a stop: the counters are enough, and any number of
ranks derives the same streams.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream is for. The numbers are part of the checkpoint format: never reuse or renumber one."""

    EPISODES = 1
    """Seed of each episode: key (environment, block of episodes)."""
    ACTIONS = 2
    """Noise of the sampled actions: key (environment, iteration)."""
    MINIBATCHES = 3
    """Order of the minibatches: key (iteration,)."""
    WEIGHTS = 4
    """Initial weights: no key."""
    EVALUATION = 5
    """Seed of each episode of an evaluation: key (timesteps of the run, environment, block of episodes)."""
    CURRICULUM = 6
    """Choices of the curriculum: key (environment, episode)."""
    PROBE = 7
    """Actions of the check that an environment forgets its past: no key."""
    EVALUATION_ACTIONS = 8
    """Noise of the sampled actions of an evaluation: key (timesteps of the run, level)."""


def generator(run_seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """The generator of one stream: NumPy's PCG64 over ``SeedSequence(run_seed, spawn_key=(stream, *key))``."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(run_seed, spawn_key=(int(stream), *key))))


SEED_BLOCK = 64


class EpisodeSeeds:
    """The seed of every episode of one environment, by episode index.

    Seeds are derived in blocks of 64, because one derivation costs as much as a short episode's reset.
    """

    def __init__(self, run_seed: int, env_index: int, stream: Stream = Stream.EPISODES, *key: int) -> None:
        self._run_seed = run_seed
        self._key = (int(stream), *key, env_index)
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
