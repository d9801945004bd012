"""Train one configuration with one package from one seed, evaluate the final policy, and print a line of JSON.

    python benchmarks/off_policy_learning.py --config configs/pendulum_sac.yaml --seed 1
    python benchmarks/off_policy_learning.py --config configs/pendulum_sac.yaml --seed 1 --package stable-baselines3
    python benchmarks/off_policy_learning.py --config configs/halfcheetah_td3.yaml --timesteps 300_000 --every 25_000

`benchmarks/off_policy_table.py` makes tables and a picture of such lines.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import yaml
from sb3_beside import their_model
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

CURVE_EPISODES = 10
"""Of each evaluation beside training."""


def train_here(config: Path, seed: int, timesteps: int, episodes: int, every: int | None, into: Path) -> list[float]:
    """`fit`, then `test` of its last checkpoint: mean and deviation of the return."""
    options = ["--config", str(config), "--seed_everything", str(seed), "--total_timesteps", str(timesteps)]
    options += ["--name", "run", "--checkpoint.every_timesteps", str(timesteps)]
    evaluate = [] if every is None else ["--eval.every", str(every), "--eval.episodes", str(CURVE_EPISODES)]
    _lit_rl("fit", *options, *evaluate, cwd=into)
    out = _lit_rl("test", *options, "--episodes", str(episodes), cwd=into)
    words = next(line for line in out.splitlines() if line.startswith("return: ")).replace(",", "").split()
    return [float(words[2]), float(words[4])]


def _lit_rl(*argv: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-m", "lit_rl", *argv], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return done.stdout


def train_there(config: Path, seed: int, timesteps: int, episodes: int, every: int | None, into: Path) -> list[float]:
    """The same with stable-baselines3."""
    torch.set_num_threads(1)
    settings = yaml.safe_load(config.read_text())
    model, envs = their_model(settings, seed)
    beside = None
    if every is not None:
        apart = make_vec_env(settings["env"]["id"], 1, seed=seed + 1000)
        beside = EvalCallback(apart, eval_freq=every, n_eval_episodes=CURVE_EPISODES, log_path=str(into), verbose=0)
    model.learn(timesteps, callback=beside)
    mean, std = evaluate_policy(model, envs, n_eval_episodes=episodes, deterministic=True)
    return [float(mean), float(std)]  # type: ignore[arg-type]  # lists are for return_episode_rewards


def curve(directory: Path) -> list[dict[str, float]]:
    """Evaluations beside training, as both libraries write them."""
    files = list(directory.glob("**/evaluations.npz"))
    if not files:
        return []
    data = np.load(files[0])
    each = zip(data["timesteps"], data["results"], strict=True)
    return [{"timesteps": int(t), "mean": float(r.mean()), "std": float(r.std())} for t, r in each]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--package", choices=("lit_rl", "stable-baselines3"), default="lit_rl")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=100, help="of the evaluation at the end, deterministic")
    parser.add_argument("--timesteps", type=int, default=None, help="instead of the configuration's")
    parser.add_argument("--every", type=int, default=None, help="evaluate beside training after so many timesteps")
    parser.add_argument("--into", type=Path, default=None, help="keep what the run writes in this directory")
    given = parser.parse_args()
    config = given.config.resolve()
    settings: dict[str, Any] = yaml.safe_load(config.read_text())
    timesteps = given.timesteps or settings["total_timesteps"]
    train = train_here if given.package == "lit_rl" else train_there
    with tempfile.TemporaryDirectory() as own:
        into = Path(own) if given.into is None else given.into.resolve()
        into.mkdir(parents=True, exist_ok=True)
        mean, std = train(config, given.seed, timesteps, given.episodes, given.every, into)
        line = {
            "env": settings["env"]["id"],
            "algorithm": settings["model"]["class_path"],
            "package": given.package,
            "seed": given.seed,
            "timesteps": timesteps,
            "episodes": given.episodes,
            "mean": round(mean, 1),
            "std": round(std, 1),
            "curve": curve(into),
        }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
