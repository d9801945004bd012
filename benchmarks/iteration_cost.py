"""What an iteration costs beside its cycles: the Trainer, logs, journals, snapshots, window metrics and counters.

Each work is trained through `begin` and a Trainer as a run is, and the time inside `collect` and `update` is taken out;
what is left is given as a share, from the end of the first iteration to the end of the last.

    python benchmarks/iteration_cost.py
"""

from __future__ import annotations

import argparse
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


class Ends(Callback):
    """When each iteration ended, and how much time its cycles took."""

    def __init__(self, module: RLModule) -> None:
        self.ends: list[float] = []
        self.inside: list[float] = []
        self._cycles = 0.0
        for name in ("collect", "update"):
            setattr(module, name, self._timed(getattr(module, name)))

    def _timed(self, method: Any) -> Any:
        def timed(*args: Any) -> Any:
            start = time.perf_counter()
            result = method(*args)
            self._cycles += time.perf_counter() - start
            return result

        return timed

    def on_train_batch_end(self, *_: Any) -> None:
        self.ends.append(time.perf_counter())
        self.inside.append(self._cycles)
        self._cycles = 0.0


def share(cls: type[RLModule], env: dict[str, Any], settings: dict[str, Any], seconds: float) -> tuple[float, float]:
    """The share of the time that is not in cycles, and the median length of an iteration in milliseconds."""
    module = cls(env=EnvConfig(**env), total_timesteps=10**9, seed=1, **settings)
    with tempfile.TemporaryDirectory() as directory:
        run = begin(module, root=directory, checkpoint=CheckpointConfig(every_timesteps=None))
        assert run is not None
        ends = Ends(module)
        trainer = Trainer(
            callbacks=[*run.callbacks, ends], logger=run.loggers, max_epochs=-1, enable_progress_bar=False,
            enable_checkpointing=False, enable_model_summary=False, accelerator="cpu",
            max_time={"seconds": seconds},
        )  # fmt: skip
        with run:
            trainer.fit(module)
    total, inside = ends.ends[-1] - ends.ends[0], sum(ends.inside[1:])
    lengths = [after - before for before, after in zip(ends.ends, ends.ends[1:], strict=False)]
    return 1.0 - inside / total, 1000.0 * statistics.median(lengths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each work, in each of three rounds")
    arguments = parser.parse_args()
    quiet()
    torch.set_num_threads(1)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in WORK}
    for _ in range(3):
        for name, work in WORK.items():
            found[name].append(share(*work, arguments.seconds))
    print("| work | beside its cycles | an iteration |\n|---|---|---|")
    for name, measured in found.items():
        print(f"| {name} | {statistics.median(m[0] for m in measured):.1%} | "
              f"{statistics.median(m[1] for m in measured):.1f} ms |")  # fmt: skip


if __name__ == "__main__":
    main()
