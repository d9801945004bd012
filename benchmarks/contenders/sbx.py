"""SBX: stable-baselines3's algorithms in jax, in an environment of its own. Nothing of lit_rl is imported here.

jax compiles within the first unit of work, before the clock starts.
"""

from __future__ import annotations

import sbx  # type: ignore[import-not-found]

from contenders import sb3
from contenders.works import Work


def measure(work: Work, units: int, backend: str, accelerator: str) -> tuple[int, float]:
    return sb3.train(sbx, work, units, backend)
