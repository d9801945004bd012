"""Runs of stable-baselines3 that are saved half way: trained on there, and gone on with here from the same zip.

For each algorithm and seed, stable-baselines3 trains to its target with a CheckpointCallback at half of it. The zip
at half goes on here, once as it is and once without its optimizer's state. Printed are the learning rates at the same
timesteps and the return before and after the join; returns are drawn.

python benchmarks/sb3_goes_on.py --out docs/images/sb3_goes_on.png
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
import yaml
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize

matplotlib.use("Agg")
KEYS = ("there", "here", "here, fresh optimizer")
COLOURS = {"there": "#888888", "here": "#1f6fb4", "here, fresh optimizer": "#d1622b"}


@dataclass(frozen=True)
class Work:
    """What is trained: the RL Zoo's settings, with learning rates that fall where it has them."""

    algorithm: Any
    env: str
    n_envs: int
    target: int
    settings: dict[str, Any]
    normalize: float | None = None


WORKS = {
    "PPO": Work(PPO, "CartPole-v1", 8, 81_920, {
        "n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20,
        "learning_rate": LinearSchedule(1e-3, 0.0, 1.0), "clip_range": LinearSchedule(0.2, 0.0, 1.0)}),
    "A2C": Work(A2C, "Pendulum-v1", 8, 400_000, {
        "n_steps": 8, "gae_lambda": 0.9, "vf_coef": 0.4, "gamma": 0.9, "use_sde": True, "ent_coef": 0.0,
        "learning_rate": LinearSchedule(7e-4, 0.0, 1.0),
        "policy_kwargs": {"log_std_init": -2, "ortho_init": False}}, normalize=0.9),
    "DQN": Work(DQN, "CartPole-v1", 1, 50_176, {
        "learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000, "learning_starts": 1000,
        "target_update_interval": 10, "train_freq": 256, "gradient_steps": 128, "exploration_fraction": 0.16,
        "exploration_final_eps": 0.04, "policy_kwargs": {"net_arch": [256, 256]}}),
    "SAC": Work(SAC, "Pendulum-v1", 1, 10_000, {"learning_rate": LinearSchedule(1e-3, 0.0, 1.0)}),
    "TD3": Work(TD3, "Pendulum-v1", 1, 10_000, {
        "learning_rate": LinearSchedule(1e-3, 0.0, 1.0), "gamma": 0.98, "buffer_size": 200_000, "learning_starts": 1000,
        "action_noise": NormalActionNoise(np.zeros(1), np.full(1, 0.1))}),
}  # fmt: skip


class Rates(BaseCallback):
    """The learning rate of each update, by timestep."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, float] = {}

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        logged = self.logger.name_to_value
        if "train/learning_rate" in logged:
            self.seen[self.num_timesteps] = logged["train/learning_rate"]


def train_there(work: Work, seed: int, folder: Path) -> dict[int, float]:
    """Train to the target, with a checkpoint at half of it; returns the learning rates."""
    venv: Any = make_vec_env(work.env, n_envs=work.n_envs, seed=seed, monitor_dir=str(folder))
    if work.normalize is not None:
        venv = VecNormalize(venv, gamma=work.normalize)
    model = work.algorithm("MlpPolicy", venv, seed=seed, device="cpu", **work.settings)
    saves = CheckpointCallback(work.target // 2 // work.n_envs, str(folder), save_replay_buffer=True,
                               save_vecnormalize=True)  # fmt: skip
    rates = Rates()
    model.learn(work.target, callback=[saves, rates])
    venv.close()
    return rates.seen


def go_on_here(work: Work, agent: Path, root: Path, name: str) -> Path:
    """The zip goes on to its target; returns the run directory."""
    lit_rl = [sys.executable, "-m", "lit_rl"]
    draft = root / f"{name}.yaml"
    said = [*lit_rl, "import-sb3", str(agent), "--env", work.env, "--mode", "resume", "--out", str(draft)]
    subprocess.run(said, check=True, stdout=subprocess.DEVNULL)
    config = yaml.safe_load(draft.read_text()) | {"trainer": {"enable_progress_bar": False}}
    draft.write_text(yaml.safe_dump(config))
    place = ["--name", name, "--trainer.default_root_dir", str(root)]
    subprocess.run([*lit_rl, "fit", "--config", str(draft), *place], check=True, stdout=subprocess.DEVNULL)
    return root / name / "version_0"


def without_optimizer(agent: Path) -> Path:
    """A copy in a folder of its own, with what lies beside it, whose optimizers have kept nothing."""
    folder = agent.parent / "bare"
    folder.mkdir()
    for path in agent.parent.glob(f"*_{agent.stem.split('_')[-2]}_steps.*"):
        if path != agent:
            (folder / path.name).write_bytes(path.read_bytes())
    with zipfile.ZipFile(agent) as old, zipfile.ZipFile(folder / agent.name, "w") as new:
        for name in old.namelist():
            if "optimizer" not in name:
                new.writestr(name, old.read(name))
    return folder / agent.name


def episodes(paths: list[Path], begin: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """About the timestep at which each episode ended, and its return; those that came after the timestep `begin`."""
    rows = []
    for path in paths:
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        rows += [(float(row["t"]), int(row["l"]), float(row["r"])) for row in csv.DictReader(lines)]
    rows.sort()
    ends, returns = np.cumsum([length for _, length, _ in rows]), np.array([ret for _, _, ret in rows])
    return ends[ends > begin], returns[ends > begin]


def smooth(values: np.ndarray, width: int = 20) -> np.ndarray:
    return np.array([values[max(0, i - width + 1) : i + 1].mean() for i in range(len(values))])


def measure(name: str, seed: int, root: Path) -> dict[str, Any]:
    """One algorithm and seed."""
    work = WORKS[name]
    folder = root / f"{name}_{seed}"
    folder.mkdir()
    rates = train_there(work, seed, folder)
    half = work.target // 2
    agent = folder / f"rl_model_{half}_steps.zip"
    monitors = sorted(folder.glob("*.monitor.csv"))
    found: dict[str, Any] = {"half": half, "curves": {"there": [list(map(float, part)) for part in episodes(monitors)]}}
    for key, path in (("here", agent), ("here, fresh optimizer", without_optimizer(agent))):
        run = go_on_here(work, path, folder, key.replace(", ", "_").replace(" ", "_"))
        if key == "here":
            with open(run / "metrics.csv", newline="") as file:
                own = {int(row["step"]): row.get("train/learning_rate") for row in csv.DictReader(file)}
            both = {step: abs(float(rate) - rates[step]) for step, rate in own.items() if rate and step in rates}
            found["rates"] = {"compared": len(both), "largest difference": max(both.values())}
            ends, returns = episodes([run / "monitor.csv"])
        else:
            ends, returns = episodes([run / "monitor.csv"])
            ends = ends + half  # nothing lies beside its zip
        found["curves"][key] = [[float(e) for e in ends], [float(r) for r in returns]]
    return found


def around(curve: list[list[float]], half: int, count: int = 20) -> tuple[float, float]:
    """Mean return of the episodes right before and right after the join."""
    ends, returns = np.array(curve[0]), np.array(curve[1])
    return float(returns[ends <= half][-count:].mean()), float(returns[ends > half][:count].mean())


def draw(found: dict[str, list[dict[str, Any]]], out: Path) -> None:
    figure, axes = plt.subplots(1, len(found), figsize=(3.6 * len(found), 3.2), constrained_layout=True)
    for axis, (name, seeds) in zip(np.atleast_1d(axes), found.items(), strict=True):
        for i, of_seed in enumerate(seeds):
            for key in KEYS:
                ends, returns = (np.array(part) for part in of_seed["curves"][key])
                after = ends > of_seed["half"] if key != "there" else np.full(len(ends), True)
                line = smooth(returns)[after]
                axis.plot(ends[after], line, color=COLOURS[key], lw=1.1, alpha=0.85, label=key if i == 0 else None)
        axis.axvline(seeds[0]["half"], color="black", lw=0.8, ls=":")
        axis.set_title(f"{name}, {WORKS[name].env}", fontsize=10)
        axis.set_xlabel("timesteps")
        axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:.0f}k")
    np.atleast_1d(axes)[0].set_ylabel("return (mean of 20 episodes)")
    np.atleast_1d(axes)[0].legend(fontsize=8, frameon=False)
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(WORKS), choices=list(WORKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("sb3_goes_on.png"))
    parser.add_argument("--keep", type=Path, default=None, help="write what was measured here, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, Any]]] = {}
    print("| | learning rates compared | largest difference | before the join | there | here | fresh optimizer |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as root:
            found[name] = [measure(name, seed, Path(root)) for seed in range(arguments.seeds)]
        for seed, each in enumerate(found[name]):
            before, there = around(each["curves"]["there"], each["half"])
            here = [around(each["curves"][key], each["half"])[1] for key in KEYS[1:]]
            rates = each["rates"]
            cells = [str(rates["compared"]), f"{rates['largest difference']:.1g}", f"{before:.1f}", f"{there:.1f}"]
            cells += [f"{value:.1f}" for value in here]
            print(f"| {name}, seed {seed} | {' | '.join(cells)} |", flush=True)
    if arguments.keep is not None:
        arguments.keep.write_text(json.dumps(found))
    draw(found, arguments.out)


if __name__ == "__main__":
    main()
