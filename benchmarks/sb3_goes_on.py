"""Runs of stable-baselines3 that are saved half way: trained on there, and gone on with here from the same zip.

For each algorithm and seed, stable-baselines3 trains to its target with a CheckpointCallback at half of it. The zip
at half goes on here, once as it is and once without its optimizer's state. Printed are the learning rates at the same
timesteps, the return before and after the join, and how far the weights move in the first updates after it; returns are
drawn. `--first` measures the last alone, in a few minutes; `--draw FILE` draws what `--keep FILE` has written.

python benchmarks/sb3_goes_on.py --out docs/images/sb3_goes_on.png
"""

from __future__ import annotations

import argparse
import csv
import json
import math
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

from lit_rl.checkpoint.reader import load_bare
from lit_rl.interop.sb3 import read_agent

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
    updates: int = 1
    """As SB3 counts them, in the first iteration of a run here of which each is one cycle, or 64 of them."""


WORKS = {
    "PPO": Work(PPO, "CartPole-v1", 8, 81_920, {
        "n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20,
        "learning_rate": LinearSchedule(1e-3, 0.0, 1.0), "clip_range": LinearSchedule(0.2, 0.0, 1.0)}, updates=20),
    "A2C": Work(A2C, "Pendulum-v1", 8, 400_000, {
        "n_steps": 8, "gae_lambda": 0.9, "vf_coef": 0.4, "gamma": 0.9, "use_sde": True, "ent_coef": 0.0,
        "learning_rate": LinearSchedule(7e-4, 0.0, 1.0),
        "policy_kwargs": {"log_std_init": -2, "ortho_init": False}}, normalize=0.9),
    "DQN": Work(DQN, "CartPole-v1", 1, 50_176, {
        "learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000, "learning_starts": 1000,
        "target_update_interval": 10, "train_freq": 256, "gradient_steps": 128, "exploration_fraction": 0.16,
        "exploration_final_eps": 0.04, "policy_kwargs": {"net_arch": [256, 256]}}, updates=128),
    "SAC": Work(SAC, "Pendulum-v1", 1, 10_000, {"learning_rate": LinearSchedule(1e-3, 0.0, 1.0)}, updates=64),
    "TD3": Work(TD3, "Pendulum-v1", 1, 10_000, {
        "learning_rate": LinearSchedule(1e-3, 0.0, 1.0), "gamma": 0.98, "buffer_size": 200_000, "learning_starts": 1000,
        "action_noise": NormalActionNoise(np.zeros(1), np.full(1, 0.1))}, updates=64),
}  # fmt: skip


class Watch(BaseCallback):
    """The learning rate of each update, by timestep, and how far the weights move in the first ones after half.

    Args:
        work: what is trained.
        first: end there.
    """

    def __init__(self, work: Work, first: bool) -> None:
        super().__init__()
        self.rates: dict[int, float] = {}
        self.moved: float | None = None
        self._work, self._first = work, first
        self._before: tuple[int, dict[str, Any]] | None = None

    def _on_step(self) -> bool:
        if self._before is None and self.num_timesteps >= self._work.target // 2:
            weights = {name: tensor.clone() for name, tensor in self.model.policy.state_dict().items()}
            self._before = self.model._n_updates, weights
        return not (self._first and self.moved is not None)

    def _on_rollout_start(self) -> None:
        logged = self.logger.name_to_value
        if "train/learning_rate" in logged:
            self.rates[self.num_timesteps] = logged["train/learning_rate"]
        if self._before is not None and self.moved is None:
            done, weights = self._before
            if self.model._n_updates - done >= self._work.updates:
                self.moved = distance(weights, self.model.policy.state_dict())


def distance(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Of two policies, over what an optimizer moves."""
    own = [name for name in before if "target" not in name]
    return math.sqrt(sum(float((after[name] - before[name]).square().sum()) for name in own))


def train_there(work: Work, seed: int, folder: Path, first: bool) -> Watch:
    """Train to the target, with a checkpoint at half of it."""
    venv: Any = make_vec_env(work.env, n_envs=work.n_envs, seed=seed, monitor_dir=str(folder))
    if work.normalize is not None:
        venv = VecNormalize(venv, gamma=work.normalize)
    model = work.algorithm("MlpPolicy", venv, seed=seed, device="cpu", **work.settings)
    saves = CheckpointCallback(work.target // 2 // work.n_envs, str(folder), save_replay_buffer=True,
                               save_vecnormalize=True)  # fmt: skip
    watch = Watch(work, first)
    model.learn(work.target, callback=[saves, watch])
    venv.close()
    return watch


def go_on_here(work: Work, agent: Path, root: Path, name: str, first: bool) -> tuple[Path, float]:
    """The zip goes on for an iteration, and then to its target; returns the run directory, and how far the weights
    moved at first."""
    lit_rl = [sys.executable, "-m", "lit_rl"]
    draft = root / f"{name}.yaml"
    said = [*lit_rl, "import-sb3", str(agent), "--env", work.env, "--mode", "resume", "--out", str(draft)]
    subprocess.run(said, check=True, stdout=subprocess.DEVNULL)
    config = yaml.safe_load(draft.read_text()) | {"trainer": {"enable_progress_bar": False}}
    if work.updates != 64 and work.algorithm is not PPO:
        config["model"]["init_args"]["cycles_per_iteration"] = 1
    draft.write_text(yaml.safe_dump(config))
    fit = [*lit_rl, "fit", "--config", str(draft), "--name", name, "--trainer.default_root_dir", str(root)]
    subprocess.run([*fit, "--pause_at", str(work.target // 2 + 1)], stdout=subprocess.DEVNULL)
    run = root / name / "version_0"
    state = load_bare(run / "checkpoints" / "last" / "lightning.ckpt")["state_dict"]
    mine = {key.removeprefix("policy."): tensor for key, tensor in state.items() if key.startswith("policy.")}
    moved = distance(read_agent(agent).policy, mine)
    if not first:
        subprocess.run(fit, check=True, stdout=subprocess.DEVNULL)
    return run, moved


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


def measure(name: str, seed: int, root: Path, first: bool) -> dict[str, Any]:
    """One algorithm and seed."""
    work = WORKS[name]
    folder = root / f"{name}_{seed}"
    folder.mkdir()
    watch = train_there(work, seed, folder, first)
    half = work.target // 2
    agent = folder / f"rl_model_{half}_steps.zip"
    found: dict[str, Any] = {"half": half, "moved": {"there": watch.moved}}
    curves = {"there": episodes(sorted(folder.glob("*.monitor.csv")))}
    for key, path in (("here", agent), ("here, fresh optimizer", without_optimizer(agent))):
        run, found["moved"][key] = go_on_here(work, path, folder, key.replace(", ", "_").replace(" ", "_"), first)
        if first:
            continue
        curves[key] = episodes([run / "monitor.csv"])
        if key != "here":  # nothing lies beside its zip
            ends, returns = curves["there"]
            own = curves[key]
            curves[key] = np.append(ends[ends <= half], own[0] + half), np.append(returns[ends <= half], own[1])
            continue
        with open(run / "metrics.csv", newline="") as file:
            rates = {int(row["step"]): row.get("train/learning_rate") for row in csv.DictReader(file)}
        both = {step: abs(float(r) - watch.rates[step]) for step, r in rates.items() if r and step in watch.rates}
        found["rates"] = {"compared": len(both), "largest difference": max(both.values())}
    return (
        found
        if first
        else found | {"curves": {key: [list(map(float, part)) for part in c] for key, c in curves.items()}}
    )


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
                after = (ends > of_seed["half"]) | (key == "there")
                line = smooth(returns)[after]
                axis.plot(ends[after], line, color=COLOURS[key], lw=1.1, alpha=0.85, label=key if i == 0 else None)
        axis.axvline(seeds[0]["half"], color="black", lw=0.8, ls=":")
        axis.set_title(f"{name}, {WORKS[name].env}", fontsize=10)
        axis.set_xlabel("timesteps")
        axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:.0f}k")
    np.atleast_1d(axes)[0].set_ylabel("return (mean of 20 episodes)")
    np.atleast_1d(axes)[0].legend(fontsize=8, frameon=False)
    figure.savefig(out, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(WORKS), choices=list(WORKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("sb3_goes_on.png"))
    parser.add_argument("--first", action="store_true", help="the first updates after the join, and nothing else")
    parser.add_argument("--keep", type=Path, default=None, help="write what was measured here, as JSON")
    parser.add_argument("--draw", type=Path, default=None, help="draw what was kept, and measure nothing")
    arguments = parser.parse_args()
    if arguments.draw is not None:
        draw(json.loads(arguments.draw.read_text()), arguments.out)
        return
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, Any]]] = {}
    columns = ["", "weights move: there", "here", "fresh optimizer"]
    if not arguments.first:
        columns += [
            "learning rates compared",
            "largest difference",
            "return before",
            "there",
            "here",
            "fresh optimizer",
        ]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name in arguments.only:
        found[name] = []
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as root:
                each = measure(name, seed, Path(root), arguments.first)
            found[name].append(each)
            cells = [f"{each['moved'][key]:.3g}" for key in KEYS]
            if not arguments.first:
                before, there = around(each["curves"]["there"], each["half"])
                rates = each["rates"]
                cells += [str(rates["compared"]), f"{rates['largest difference']:.1g}", f"{before:.1f}", f"{there:.1f}"]
                cells += [f"{around(each['curves'][key], each['half'])[1]:.1f}" for key in KEYS[1:]]
            print(f"| {name}, seed {seed} | {' | '.join(cells)} |", flush=True)
    if arguments.keep is not None:
        arguments.keep.write_text(json.dumps(found))
    if not arguments.first:
        draw(found, arguments.out)


if __name__ == "__main__":
    main()
