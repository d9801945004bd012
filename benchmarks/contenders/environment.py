"""A limit: lit_rl's environments of a work alone, stepped with random actions. Nothing is learned."""

from __future__ import annotations

import numpy as np

from contenders.clock import Clock
from contenders.ours import env_config
from contenders.works import Work
from lit_rl.envs.make import make_vector


def measure(work: Work, units: int, backend: str, accelerator: str) -> tuple[int, float]:
    clock = Clock(work, units)
    envs = make_vector(env_config(work, backend), 1, range(work.n_envs))
    envs.reset()
    drawn = [np.stack([envs.action_space.sample() for _ in range(work.n_envs)]) for _ in range(64)]
    for step in range(clock.target // work.n_envs):
        envs.step(drawn[step % len(drawn)])
        clock.tick((step + 1) * work.n_envs)
    envs.close()
    return clock.measured
