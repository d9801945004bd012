"""What an iteration costs beside its cycles: logs, journals, snapshots, window metrics, counters; and the Trainer.

Each work is trained through `begin` and a Trainer as a run is, from the end of the first iteration to the end of the
last. The time outside `collect` and `update` is ours where it lies in `training_step` or in a callback of the run, and
the Trainer's elsewhere.

    python benchmarks/iteration_cost.py
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import statistics
import tempfile
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from lightning.pytorch import Callback, Trainer

from lit_rl import A2C, PPO, CheckpointConfig, EnvConfig, begin
from lit_rl.cli.quiet import quiet
from lit_rl.training.module import RLModule

CARTPOLE = {"id": "CartPole-v1", "n_envs": 8, "backend": "native"}
WORK: dict[str, tuple[type[RLModule], dict[str, Any], dict[str, Any]]] = {
    "A2C, CartPole-v1, 8 x 5, 50 cycles": (A2C, CARTPOLE, {}),
    "A2C, CartPole-v1, 8 x 5, 1 cycle": (A2C, CARTPOLE, {"cycles_per_iteration": 1}),
    "PPO, CartPole-v1, 8 x 128, 4 epochs": (PPO, CARTPOLE, {"n_steps": 128, "batch_size": 256, "n_epochs": 4}),
    "PPO, CartPole-v1, 8 x 32, 20 epochs": (PPO, CARTPOLE, {"n_steps": 32, "batch_size": 256, "n_epochs": 20}),
}


class Stopwatch(Callback):
    """The last of the callbacks: when each iteration ended, and how much time lay in cycles, and in what is ours."""

    def __init__(self, module: RLModule, callbacks: list[Any]) -> None:
        self.ends: list[float] = []
        self.spent: dict[str, list[float]] = {"cycles": [], "ours": []}
        self._now = dict.fromkeys(self.spent, 0.0)
        for owner, name, kind in [
            (module, "collect", "cycles"),
            (module, "update", "cycles"),
            (module, "training_step", "ours"),
            *((callback, "on_train_batch_end", "ours") for callback in callbacks),
        ]:
            setattr(owner, name, self._timed(getattr(owner, name), kind))

    def _timed(self, method: Any, kind: str) -> Any:
        def timed(*args: Any) -> Any:
            start = time.perf_counter()
            result = method(*args)
            self._now[kind] += time.perf_counter() - start
            return result

        return timed

    def on_train_batch_end(self, *_: Any) -> None:
        self.ends.append(time.perf_counter())
        for kind, value in self._now.items():
            self.spent[kind].append(value)
        self._now = dict.fromkeys(self.spent, 0.0)


def shares(cls: type[RLModule], env: dict[str, Any], settings: dict[str, Any], seconds: float) -> tuple[float, ...]:
    """The share of what is ours, of the Trainer, and the median length of an iteration in milliseconds."""
    module = cls(env=EnvConfig(**env), total_timesteps=10**9, seed=1, **settings)
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()):
        run = begin(module, root=directory, checkpoint=CheckpointConfig(every_timesteps=None))
        assert run is not None
        watch = Stopwatch(module, run.callbacks)
        trainer = Trainer(
            callbacks=[*run.callbacks, watch], logger=run.loggers, max_epochs=-1, enable_progress_bar=False,
            enable_checkpointing=False, enable_model_summary=False, accelerator="cpu",
            max_time={"seconds": seconds},
        )  # fmt: skip
        with run:
            trainer.fit(module)
    total = watch.ends[-1] - watch.ends[0]
    cycles, with_ours = (sum(watch.spent[kind][1:]) for kind in ("cycles", "ours"))
    lengths = [after - before for before, after in itertools.pairwise(watch.ends)]
    return (with_ours - cycles) / total, 1.0 - with_ours / total, 1000.0 * statistics.median(lengths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each work, in each of three rounds")
    arguments = parser.parse_args()
    quiet()
    torch.set_num_threads(1)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in WORK}
    for _ in range(3):
        for name, work in WORK.items():
            found[name].append(shares(*work, arguments.seconds))
    print("| work | logs, journals, snapshot, counters | the Trainer | an iteration |\n|---|---|---|---|")
    for name, measured in found.items():
        ours, trainer, length = (statistics.median(column) for column in zip(*measured, strict=True))
        print(f"| {name} | {ours:.1%} | {trainer:.1%} | {length:.1f} ms |")


if __name__ == "__main__":
    main()
