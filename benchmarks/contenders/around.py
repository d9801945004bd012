"""What lies around training: saving, resuming, logging, evaluating. `speed.py --around` prints it.

What one checkpoint costs, and logging, are measured by the scripts that measure nothing else.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from iteration_cost import WORK, shares
from lightning.pytorch import Callback
from stable_baselines3 import PPO as Sb3PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from contenders.ours import fit, make_module
from contenders.works import WORKS, Work
from lit_rl import PPO, EnvConfig
from lit_rl.cli.quiet import quiet
from lit_rl.training.evaluation import evaluate, evaluation_envs

RESUMED = ("ppo_cartpole_8", "ppo_halfcheetah", "dqn_cartpole_zoo")
FIXED_LENGTH = ("Pendulum-v1", "HalfCheetah-v5")
"""Every episode of theirs is as long as any other, 200 and 1,000 steps."""


class Ready(Callback):
    """When the first iteration began."""

    def __init__(self) -> None:
        self.at: float | None = None

    def on_train_batch_start(self, *_: Any) -> None:
        self.at = self.at or time.perf_counter()


def seconds_to_first_iteration(work: Work, root: str, mode: str, pause_at: int) -> float:
    """To the beginning of the first iteration, imports apart; the run then goes on to `pause_at`."""
    start, ready = time.perf_counter(), Ready()
    fit(make_module(work, "sync", 10 * pause_at), ready, root, mode=mode, pause_at=pause_at)
    assert ready.at is not None
    return ready.at - start


def resuming(rounds: int) -> str:
    """HalfCheetah's episodes are 768 steps old then, which are played again to bring them back."""
    lines = ["| work | a fresh start, s | a resume, s |", "|---|---|---|"]
    for name in RESUMED:
        work, found = WORKS[name], []
        pause = (work.first + 2) * work.unit
        for _ in range(rounds + 1):
            with tempfile.TemporaryDirectory() as root:
                fresh = seconds_to_first_iteration(work, root, "fresh", pause)
                found.append((fresh, seconds_to_first_iteration(work, root, "resume", pause + work.unit)))
        fresh, resumed = (statistics.median(column) for column in zip(*found[1:], strict=True))  # the first warms up
        lines.append(f"| `{name}` | {fresh:.2f} | {resumed:.2f} |")
    return "\n".join(lines)


def logging(seconds: float) -> str:
    lines = ["| work | logs, journals, snapshot, counters | the Trainer | an iteration |", "|---|---|---|---|"]
    for name, work in WORK.items():
        ours, trainer, length = shares(*work, seconds)
        lines.append(f"| {name} | {ours:.1%} | {trainer:.1%} | {length:.1f} ms |")
    return "\n".join(lines)


def our_evaluation(env: str, n_envs: int, episodes: int) -> float:
    """Seconds of an episode, with a policy of 64x64."""
    module = PPO(env=EnvConfig(id=env, n_envs=n_envs, backend="sync"), seed=1)
    module.build_envs()
    module.build_networks()
    envs = evaluation_envs(module.env_config, 1, n_envs, ())
    start = time.perf_counter()
    evaluate(module, envs, episodes)
    spent = time.perf_counter() - start
    envs.close()
    module.play.close()
    return spent / episodes


def their_evaluation(env: str, n_envs: int, episodes: int) -> float:
    envs = make_vec_env(env, n_envs, seed=1)
    model = Sb3PPO("MlpPolicy", envs, device="cpu", seed=1)
    start = time.perf_counter()
    evaluate_policy(model, envs, n_eval_episodes=episodes, deterministic=True)
    spent = time.perf_counter() - start
    envs.close()
    return spent / episodes


def evaluating(rounds: int, episodes: int = 10) -> str:
    lines = ["| episodes of | environments | lit_rl, ms an episode | SB3's evaluate_policy | ratio |", "|---" * 5 + "|"]
    for env in FIXED_LENGTH:
        for n_envs in (1, 5):
            found = []
            for i in range(rounds):
                pair = [our_evaluation, their_evaluation]
                spent = {each: each(env, n_envs, episodes) for each in (pair if i % 2 == 0 else pair[::-1])}
                found.append([1000 * spent[each] for each in pair])
            ours, theirs = (statistics.median(column) for column in zip(*found, strict=True))
            ratio = statistics.median(theirs / ours for ours, theirs in found)
            lines.append(f"| {env} | {n_envs} | {ours:.1f} | {theirs:.1f} | {ratio:.2f} |")
    return "\n".join(lines)


def saving() -> str:
    script = Path(__file__).parents[1] / "checkpoint_cost.py"
    return subprocess.run([sys.executable, str(script)], check=True, capture_output=True, text=True).stdout.strip()


def measure(rounds: int, seconds: float) -> str:
    """All of it, as Markdown."""
    quiet()
    torch.set_num_threads(1)
    parts = {
        "One checkpoint (`checkpoint_cost.py`): how long training stands still": saving(),
        "Resuming: to the beginning of the first iteration, imports apart": resuming(rounds),
        "Logging, as a share of an iteration (`iteration_cost.py`)": logging(seconds),
        "Evaluating": evaluating(rounds),
    }
    return "\n\n".join(f"**{title}**\n\n{text}" for title, text in parts.items())
