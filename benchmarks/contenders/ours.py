"""lit_rl: `fit` as a user has it, through Lightning's Trainer with its run directory and logs; and a bare loop."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any

from lightning.pytorch import Callback, Trainer

import lit_rl
from contenders.clock import Clock
from contenders.works import Work
from lit_rl import CheckpointConfig, EnvConfig, NormalizeConfig, RLModule, begin
from lit_rl.cli.quiet import quiet
from lit_rl.process import keep_freed_memory


def env_config(work: Work, backend: str) -> EnvConfig:
    normalize = NormalizeConfig(obs=work.normalize, reward=work.normalize)
    chosen: Any = backend
    return EnvConfig(
        id=work.env, n_envs=work.n_envs, backend=chosen, normalize=normalize, atari=work.atari, kwargs=work.env_kwargs
    )


def make_module(work: Work, backend: str, timesteps: int) -> RLModule:
    made: RLModule = getattr(lit_rl, work.algorithm)(
        env=env_config(work, backend), policy=work.policy, policy_kwargs=work.policy_kwargs, total_timesteps=timesteps,
        cycles_per_iteration=work.cycles, seed=1, **work.settings,
    )  # fmt: skip
    return made


class Ticking(Callback):
    """Tells the clock at the end of every iteration."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self._clock.tick(pl_module.counters.timesteps)


def fit(module: RLModule, watch: Callback, root: str, accelerator: str = "cpu", **how: Any) -> None:
    """Begin a run beneath `root` and train it as far as it goes, silently; saved at its end."""
    quiet()
    keep_freed_memory()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        run = begin(module, root=root, checkpoint=CheckpointConfig(every_timesteps=None), **how)
        assert run is not None
        trainer = Trainer(
            callbacks=[watch, *run.callbacks], logger=run.loggers, max_epochs=-1, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, accelerator=accelerator, devices=1,
        )  # fmt: skip
        with run:
            trainer.fit(module, ckpt_path=run.ckpt_path, weights_only=True)


def measure(work: Work, units: int, backend: str, accelerator: str) -> tuple[int, float]:
    """Train in a run directory that goes away afterwards."""
    clock = Clock(work, units)
    with tempfile.TemporaryDirectory() as root:
        fit(make_module(work, backend, clock.target), Ticking(clock), root, accelerator)
    return clock.measured
