"""lit_rl without Trainer, run directory and logs: a bare loop over the module's `collect` and `update`."""

from __future__ import annotations

from contenders.clock import Clock
from contenders.ours import make_module
from contenders.works import Work


def measure(work: Work, units: int, backend: str, accelerator: str) -> tuple[int, float]:
    clock = Clock(work, units)
    trained = make_module(work, backend, clock.target)
    trained.build_envs()
    trained.build_networks()
    trained.to(accelerator)
    made = trained.configure_optimizers()
    each = made if isinstance(made, tuple) else (made,)
    trained.optimizers = lambda use_pl_optimizer=False: [one["optimizer"] for one in each]  # type: ignore
    trained.lr_schedulers = lambda: [one["lr_scheduler"] for one in each]  # type: ignore
    trained.play.begin()
    for _ in range(clock.target // work.unit):
        for _ in range(work.cycles):
            trained.update(trained.collect())
        trained.counters.iterations += 1
        clock.tick(trained.counters.timesteps)
    trained.play.close()
    return clock.measured
