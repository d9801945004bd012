"""lit_rl without Trainer, run directory and logs: a bare loop over the module's `collect` and `update`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from contenders.clock import Clock
from contenders.ours import make_module
from contenders.works import Work


def measure(
    work: Work, units: int, backend: str, accelerator: str, around: Callable[[], Any] = contextlib.nullcontext
) -> tuple[int, float]:
    """Train, and be in `around()` during the last unit."""
    clock = Clock(work, units)
    trained = make_module(work, backend, clock.target)
    trained.build_envs()
    trained.build_networks()
    trained.to(accelerator)
    made = trained.configure_optimizers()
    if isinstance(made, tuple):
        optimizers, schedulers = ([one[kind] for one in made] for kind in ("optimizer", "lr_scheduler"))
    else:
        optimizers, schedulers = made["optimizer"], made["lr_scheduler"]
    trained.optimizers = lambda use_pl_optimizer=False: optimizers  # type: ignore[method-assign]
    trained.lr_schedulers = lambda: schedulers  # type: ignore[method-assign]
    trained.play.begin()
    last = clock.target // work.unit - 1
    for unit in range(last + 1):
        with around() if unit == last else contextlib.nullcontext():
            for _ in range(work.cycles):
                trained.update(trained.collect())
        trained.counters.iterations += 1
        clock.tick(trained.counters.timesteps)
    trained.play.close()
    return clock.measured
