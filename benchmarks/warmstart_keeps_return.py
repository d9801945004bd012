"""Does an agent of stable-baselines3 keep its return when training goes on here? And without its moments?

An SB3 PPO agent with VecNormalize is trained on Pendulum-v1, imported, and trained on for 20,000 timesteps with an
evaluation at every 2,000: once as `import-sb3` writes it, once with `load: [policy, value]` and new moments. Beside it
the RL Zoo's PPO agent for CartPole-v1, if its zip is given.

    python benchmarks/warmstart_keeps_return.py [--cartpole path/to/CartPole-v1.zip]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

EVERY, LENGTH, EPISODES = 2_000, 20_000, 20


def train_with_sb3(path: Path, timesteps: int) -> None:
    """An agent with the RL Zoo's settings for Pendulum-v1, and normalisation."""
    torch.set_num_threads(1)
    envs = VecNormalize(make_vec_env("Pendulum-v1", 4, seed=0), gamma=0.9)
    model = PPO(
        "MlpPolicy", envs, n_steps=256, batch_size=64, n_epochs=10, gamma=0.9, gae_lambda=0.95, learning_rate=1e-3,
        use_sde=True, sde_sample_freq=4, seed=0, device="cpu",
    )  # fmt: skip
    model.learn(timesteps)
    model.save(path)
    envs.save(str(path.with_name("vecnormalize.pkl")))


def lit_rl(*words: object, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lit_rl", *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 75):
        raise SystemExit(done.stderr)
    return done.stdout


def curve(cwd: Path, config: Path, agent: Path, name: str, *words: str) -> None:
    """Print the agent's own return and the returns while it is trained on."""
    out = lit_rl("test", "--config", config, "--ckpt_path", agent, "--episodes", 100, cwd=cwd)
    before = next(line for line in out.splitlines() if line.startswith("return: ")).split()
    schedule = ("--eval.every", EVERY, "--eval.episodes", EPISODES, "--pause_at", LENGTH)
    lit_rl("fit", "--config", config, "--name", name, *schedule, *words, cwd=cwd)
    data = np.load(cwd / "lightning_logs" / name / "version_0" / "evaluations.npz")
    means = data["results"].mean(axis=1)
    print(f"{name}: before {float(before[2].rstrip(',')):.1f} +- {float(before[4].rstrip(',')):.1f}")
    print("  timesteps " + " ".join(f"{t:>8}" for t in data["timesteps"]))
    print("  return    " + " ".join(f"{m:>8.1f}" for m in means), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cartpole", type=Path, default=None, help="the Zoo's PPO agent for CartPole-v1")
    parser.add_argument("--timesteps", type=int, default=150_000, help="of the SB3 agent's own training")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        cwd = Path(directory)
        agent, config = cwd / "agent.zip", cwd / "pendulum.yaml"
        train_with_sb3(agent, arguments.timesteps)
        lit_rl("import-sb3", agent, "--env", "Pendulum-v1", "--out", config, cwd=cwd)
        curve(cwd, config, agent, "pendulum_with_moments")
        curve(cwd, config, agent, "pendulum_without_moments", "--warmstart.load", "[policy, value]")
        if arguments.cartpole is not None:
            config = cwd / "cartpole.yaml"
            lit_rl("import-sb3", arguments.cartpole.resolve(), "--out", config, cwd=cwd)
            curve(cwd, config, arguments.cartpole.resolve(), "cartpole")


if __name__ == "__main__":
    main()
