"""Timesteps a second of PPO on one rank and on two, and what reducing in a fixed order costs, in turn.

    python benchmarks/ranks_speed.py --env HalfCheetah-v5 --rounds 3

Each run is a process of its own (two for two ranks), as a user starts it; the speed is read from the times in its
metrics.csv, from the second iteration to the last.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

WORK = {
    "HalfCheetah-v5": {"n_envs": 8, "n_steps": 256, "batch_size": 256, "n_epochs": 10, "normalize": True},
    "HalfCheetah-v5, 256x256": {
        "n_envs": 8, "n_steps": 256, "batch_size": 256, "n_epochs": 10, "normalize": True,
        "policy_kwargs": {"net_arch": [256, 256]},
    },
    "CartPole-v1": {"n_envs": 8, "n_steps": 128, "batch_size": 256, "n_epochs": 4, "normalize": False},
}  # fmt: skip
SETTINGS = ("n_steps", "batch_size", "n_epochs", "policy_kwargs")
CONTENDERS = {
    "1 rank": (),
    "2 ranks": ("--trainer.devices", "2"),
    "1 rank, fixed order": ("--model.deterministic_reduction", "true"),
    "2 ranks, fixed order": ("--trainer.devices", "2", "--model.deterministic_reduction", "true"),
}


def speed(env: str, words: tuple[str, ...], iterations: int) -> float:
    work = WORK[env]
    steps = work["n_envs"] * work["n_steps"]
    config = {
        "total_timesteps": iterations * steps,
        "env": {
            "id": env.split(",")[0], "n_envs": work["n_envs"], "backend": "sync",
            "normalize": {"obs": work["normalize"], "reward": work["normalize"]},
        },
        "model": {"class_path": "PPO", "init_args": {k: work[k] for k in SETTINGS if k in work}},
        "checkpoint": {"every_timesteps": None},
        "trainer": {"accelerator": "cpu"},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "run.yaml").write_text(yaml.safe_dump(config))
        subprocess.run(
            [sys.executable, "-m", "lit_rl", "fit", "--config", "run.yaml", *words], cwd=directory, check=True,
            capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1", "MUJOCO_GL": "egl"},
        )  # fmt: skip
        with open(Path(directory) / "lightning_logs" / "run" / "version_0" / "metrics.csv", newline="") as file:
            rows = list(csv.DictReader(file))
    seconds = [float(row["step"]) / float(row["time/fps"]) for row in (rows[0], rows[-1])]  # fps counts from the start
    return (float(rows[-1]["step"]) - float(rows[0]["step"])) / (seconds[1] - seconds[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", choices=WORK, default="HalfCheetah-v5")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=25)
    arguments = parser.parse_args()
    speeds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for i in range(arguments.rounds):
        for name, words in CONTENDERS.items():
            speeds[name].append(speed(arguments.env, words, arguments.iterations))
        print(
            f"round {i + 1}: " + ", ".join(f"{name} {values[-1]:,.0f}" for name, values in speeds.items()), flush=True
        )
    print(f"\n{arguments.env}, {WORK[arguments.env]}; timesteps a second, median of {arguments.rounds} rounds")
    first = next(iter(speeds.values()))
    for name, values in speeds.items():
        ratio = statistics.median(value / base for value, base in zip(values, first, strict=True))
        print(f"  {name:<22} {statistics.median(values):>8,.0f}   {ratio:.2f} of 1 rank")


if __name__ == "__main__":
    main()
