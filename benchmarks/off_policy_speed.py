"""Gradient steps a second of DQN, SAC and TD3, their share of playing included: `fit`, and stable-baselines3.

Both do the same work in turn, in one process with one torch thread, each round beginning with the other of them. A
clock runs from the end of the first iteration that has learned to the end of the run.

    python benchmarks/off_policy_speed.py --algorithm SAC --rounds 4 --timesteps 3000
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import stable_baselines3
import torch
from fitted import fit
from lightning.pytorch import Callback
from stable_baselines3.common.callbacks import BaseCallback

import lit_rl
from lit_rl import EnvConfig
from lit_rl.cli.quiet import quiet

WORK: dict[str, tuple[str, dict[str, Any]]] = {
    "DQN": ("CartPole-v1", {
        "learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000, "learning_starts": 200, "train_freq": 256,
        "gradient_steps": 128, "target_update_interval": 10, "policy_kwargs": {"net_arch": [256, 256]},
    }),
    "SAC": ("Pendulum-v1", {"learning_rate": 1e-3, "buffer_size": 100_000, "learning_starts": 100}),
    "TD3": ("Pendulum-v1", {
        "learning_rate": 1e-3, "buffer_size": 100_000, "learning_starts": 100,
        "policy_kwargs": {"net_arch": [400, 300]},
    }),
}  # fmt: skip
"""The RL Zoo's settings, but that learning starts early."""

Moments = list[tuple[float, int]]
"""When so many gradient steps had been taken."""


class Stopwatch(Callback):
    """The moments at which iterations ended."""

    def __init__(self) -> None:
        self.moments: Moments = []

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        self.moments.append((time.perf_counter(), module.counters.updates))


class Sb3Stopwatch(BaseCallback):
    """The moments at which it began to collect."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: Moments = []

    def _on_rollout_start(self) -> None:
        self.moments.append((time.perf_counter(), self.model._n_updates))

    def _on_step(self) -> bool:
        return True


def rate(moments: Moments) -> float:
    """Gradient steps a second, from the first moment after learning has started."""
    learned = [each for each in moments if each[1] > 0]
    return (learned[-1][1] - learned[0][1]) / (learned[-1][0] - learned[0][0])


def ours(algorithm: str, timesteps: int, accelerator: str) -> float:
    env, settings = WORK[algorithm]
    module = getattr(lit_rl, algorithm)(
        env=EnvConfig(id=env, n_envs=1, backend="sync"), total_timesteps=timesteps, seed=1,
        **{"cycles_per_iteration": 1 if algorithm == "DQN" else 64, **settings},
    )  # fmt: skip
    watch = Stopwatch()
    fit(module, watch, accelerator)
    return rate(watch.moments)


def theirs(algorithm: str, timesteps: int, accelerator: str) -> float:
    env, settings = WORK[algorithm]
    model = getattr(stable_baselines3, algorithm)("MlpPolicy", env, seed=1, device=accelerator, **settings)
    watch = Sb3Stopwatch()
    model.learn(timesteps, callback=watch)
    return rate([*watch.moments, (time.perf_counter(), model._n_updates)])


CONTENDERS = {"lit_rl fit": ours, "stable-baselines3": theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algorithm", choices=WORK, default="SAC")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--timesteps", type=int, default=3000, help="of each contender in a round, at least 600")
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    quiet()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for run in CONTENDERS.values():
        run(arguments.algorithm, 600, arguments.accelerator)  # warm up
    for i in range(arguments.rounds):
        for name in list(CONTENDERS)[:: -1 if i % 2 else 1]:
            rates[name].append(CONTENDERS[name](arguments.algorithm, arguments.timesteps, arguments.accelerator))
        line = ", ".join(f"{name} {values[-1]:,.0f}" for name, values in rates.items())
        print(f"round {i + 1}: {line}", flush=True)
    print(f"\n{arguments.algorithm}, {', '.join(map(str, WORK[arguments.algorithm]))}, {arguments.accelerator}")
    print(f"gradient steps a second, median of {arguments.rounds} rounds")
    for name, values in rates.items():
        print(f"  {name:<18} {statistics.median(values):>9,.0f}   ({min(values):,.0f} to {max(values):,.0f})")
    ratios = [a / b for a, b in zip(*rates.values(), strict=True)]
    print(
        f"ratio in a round, median and range: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    )


if __name__ == "__main__":
    main()
