"""Timesteps a second of PPO: through the Trainer, in a bare loop over the same module, and in stable-baselines3.

The three do the same work in turn, round after round, in one process, each round beginning with another of them, so
that a machine whose speed wanders is fair. A contender's clock runs from the end of its first iteration to the end of
its last: what a run pays once (building, the first line of a log, the last checkpoint) is not in it, what it pays every
iteration (lit_rl's log files, the Trainer's loop) is.

    python benchmarks/ppo_speed.py --env HalfCheetah-v5 --rounds 5 --iterations 20
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")

import torch
from fitted import fit
from lightning.pytorch import Callback
from stable_baselines3 import PPO as Sb3PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from lit_rl import PPO, EnvConfig, NormalizeConfig
from lit_rl.cli.quiet import quiet

WORK = {
    "HalfCheetah-v5": {"n_envs": 8, "n_steps": 256, "batch_size": 256, "n_epochs": 10, "normalize": True},
    "CartPole-v1": {"n_envs": 8, "n_steps": 128, "batch_size": 256, "n_epochs": 4, "normalize": False},
}


def make(env: str, work: dict[str, Any], target: int, device: str) -> PPO:
    normalize = NormalizeConfig(obs=work["normalize"], reward=work["normalize"])
    return PPO(
        env=EnvConfig(id=env, n_envs=work["n_envs"], backend="sync", normalize=normalize),
        n_steps=work["n_steps"],
        batch_size=work["batch_size"],
        n_epochs=work["n_epochs"],
        total_timesteps=target,
        seed=1,
    )


class Stopwatch(Callback):
    """When each iteration ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.ends.append(time.perf_counter())


class Sb3Stopwatch(BaseCallback):
    """When each iteration began."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: list[float] = []

    def _on_rollout_start(self) -> None:
        self.starts.append(time.perf_counter())

    def _on_step(self) -> bool:
        return True


def speed(work: dict[str, Any], ends: list[float]) -> float:
    """Timesteps a second, from the ends of all iterations."""
    return (len(ends) - 1) * work["n_envs"] * work["n_steps"] / (ends[-1] - ends[0])


def through_the_trainer(env: str, work: dict[str, Any], iterations: int, accelerator: str) -> float:
    steps = iterations * work["n_envs"] * work["n_steps"]
    module, watch = make(env, work, steps, accelerator), Stopwatch()
    fit(module, watch, accelerator)
    assert len(watch.ends) == iterations
    return speed(work, watch.ends)


def bare_loop(env: str, work: dict[str, Any], iterations: int, accelerator: str) -> float:
    steps = iterations * work["n_envs"] * work["n_steps"]
    module = make(env, work, steps, accelerator)
    module.build_envs()
    module.build_networks()
    module.to("cuda" if accelerator == "cuda" else "cpu")
    made = module.configure_optimizers()
    module.optimizers = lambda use_pl_optimizer=False: made["optimizer"]  # type: ignore[method-assign]
    module.lr_schedulers = lambda: made["lr_scheduler"]  # type: ignore[method-assign]
    module.play.begin()
    ends = []
    for _ in range(iterations):
        module.update(module.collect())
        module.counters.iterations += 1
        ends.append(time.perf_counter())
    module.play.close()
    return speed(work, ends)


def stable_baselines3(env: str, work: dict[str, Any], iterations: int, accelerator: str) -> float:
    steps = iterations * work["n_envs"] * work["n_steps"]
    envs: Any = make_vec_env(env, work["n_envs"], seed=1)
    if work["normalize"]:
        envs = VecNormalize(envs)
    model = Sb3PPO(
        "MlpPolicy", envs, n_steps=work["n_steps"], batch_size=work["batch_size"], n_epochs=work["n_epochs"], seed=1,
        device="cuda" if accelerator == "cuda" else "cpu",
    )  # fmt: skip
    watch = Sb3Stopwatch()
    model.learn(steps, callback=watch)
    envs.close()
    return speed(work, [*watch.starts[1:], time.perf_counter()])


CONTENDERS = {"lit_rl fit": through_the_trainer, "lit_rl bare loop": bare_loop, "stable-baselines3": stable_baselines3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", choices=WORK, default="HalfCheetah-v5")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=20, help="of each contender in a round, at least 2")
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    quiet()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    speeds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    work = WORK[arguments.env]
    for run in CONTENDERS.values():
        run(arguments.env, work, 2, arguments.accelerator)  # warm up
    for i in range(arguments.rounds):
        names = list(CONTENDERS)
        for name in names[i % 3 :] + names[: i % 3]:
            speeds[name].append(CONTENDERS[name](arguments.env, work, arguments.iterations, arguments.accelerator))
        line = ", ".join(f"{name} {values[-1]:,.0f}" for name, values in speeds.items())
        print(f"round {i + 1}: {line}", flush=True)
    print(f"\n{arguments.env}, {work}, {arguments.accelerator}")
    print(f"timesteps a second, median of {arguments.rounds} rounds")
    for name, values in speeds.items():
        print(f"  {name:<18} {statistics.median(values):>9,.0f}   ({min(values):,.0f} to {max(values):,.0f})")
    fit, bare, sb3 = speeds.values()
    print("ratio in a round, median and range")
    for what, ratios in (
        ("time of fit / bare loop", [b / a for a, b in zip(fit, bare, strict=True)]),
        ("speed of fit / stable-baselines3", [a / b for a, b in zip(fit, sb3, strict=True)]),
    ):
        print(f"  {what:<33} {statistics.median(ratios):.3f}   ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
