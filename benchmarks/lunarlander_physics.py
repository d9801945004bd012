"""LunarLander under physics that it was not trained on, by the way it was trained: table and picture.

    python benchmarks/lunarlander_physics.py    # runs what is missing, then writes docs/images/lunarlander_physics.png

Gravity, wind and turbulence are the dimensions. Every way trains with the model of configs/lunarlander_ppo.yaml for the
same number of timesteps, with the wind turned on; ways that adapt call a landing of return 200 or more a success, which
is what LunarLander's makers call solved. Then the policy, with its most likely actions, plays episodes under physics of
three kinds, equal for all: the environment's own; drawn as in training, from seeds that no run has seen; and held out,
beyond what any run was trained on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
INSIDE = {"gravity": (-11.0, -5.0), "wind_power": (0.0, 15.0), "turbulence_power": (0.0, 1.5)}
"""What runs are trained on."""
OUTSIDE = {"gravity": [(-11.9, -11.0), (-5.0, -3.0)], "wind_power": [(15.0, 20.0)], "turbulence_power": [(1.5, 2.0)]}
"""What they are not: all three at once."""
LANDED = 200.0
UNIFORM = {name: {"uniform": list(between)} for name, between in INSIDE.items()}
GRID = {
    name: {"levels": [
        {"name": f"{low:.4g}", "attributes": {name: {"uniform": [low, high]}}}
        for low, high in zip(np.linspace(*between, 5)[:-1].tolist(), np.linspace(*between, 5)[1:].tolist(), strict=True)
    ]}
    for name, between in INSIDE.items()
}  # fmt: skip
START = {"gravity": -10.0, "wind_power": 0.0, "turbulence_power": 0.0}


def grid(strategy: dict[str, Any]) -> dict[str, Any]:
    """Four parts of each range, and a strategy for each dimension."""
    return {"dimensions": {name: {**block, "sample": strategy} for name, block in GRID.items()}}


WAYS: dict[str, dict[str, Any] | None] = {
    "as it is made": None,
    "uniform": {"attributes": UNIFORM},
    "learnability": grid({"strategy": "learnability", "success_at": LANDED}),
    "learning progress": grid({"strategy": "progress", "success_at": LANDED}),
    "level replay": {"attributes": UNIFORM, "sample": {"strategy": "replay", "seeds": 500}},
    "bounds that adapt": {
        "attributes": {
            name: {"adr": {"start": START[name], "limits": list(between), "step": (between[1] - between[0]) / 10}}
            for name, between in INSIDE.items()
        },
        "adr": {"metric": "ep_rew_mean", "widen": LANDED, "narrow": 0.0},
    },
}


def run(directory: Path, way: str, seed: int, timesteps: int) -> Path:
    """Train one run, unless it is there already; returns its run directory."""
    name = f"{way.replace(' ', '_')}_{seed}"
    path = directory / name / "version_0"
    if (path / "done").exists():
        return path
    config = yaml.safe_load((ROOT / "configs" / "lunarlander_ppo.yaml").read_text())
    config |= {"name": name, "seed_everything": seed, "total_timesteps": timesteps}
    config["env"] |= {"backend": "sync", "kwargs": {"enable_wind": way != "as it is made"}}
    if WAYS[way] is not None:
        config["curriculum"] = WAYS[way]
    config["checkpoint"] = {"every_timesteps": None, "save_best": False}
    shutil.rmtree(directory / name, ignore_errors=True)  # one that was not trained to its end
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    command = [sys.executable, "-m", "lit_rl", "fit", "--config", str(file)]
    command += ["--trainer.default_root_dir", str(directory)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    (path / "done").touch()
    return path


def physics(kind: str, rng: np.random.Generator) -> dict[str, float]:
    """Gravity, wind and turbulence of one episode."""
    if kind == "own":
        return {"gravity": -10.0, "wind_power": 0.0, "turbulence_power": 0.0}
    ranges = {name: [between] for name, between in INSIDE.items()} if kind == "inside" else OUTSIDE
    return {name: float(rng.uniform(*each[rng.integers(len(each))])) for name, each in ranges.items()}


KINDS = ("own", "inside", "held out")


def judged(path: Path, kind: str, episodes: int) -> np.ndarray:
    """Returns of episodes that a run's last policy plays; they are kept beside it."""
    file = path / f"{kind.replace(' ', '_')}_{episodes}.npy"
    if not file.exists():
        import lit_rl

        agent, rng, returns = lit_rl.load(path, "last"), np.random.default_rng(12345), []
        env = gym.make("LunarLander-v3", enable_wind=True)
        for seed in range(episodes):
            for name, value in physics(kind, rng).items():
                setattr(env.unwrapped, name, value)
            obs, _ = env.reset(seed=10_000 + seed)
            total, done = 0.0, False
            while not done:
                action, _ = agent.predict(obs, deterministic=True)
                obs, reward, terminated, truncated, _ = env.step(action)
                total, done = total + float(reward), terminated or truncated
            returns.append(total)
        np.save(file, np.array(returns))
    found: np.ndarray = np.load(file)
    return found


def table(runs: dict[str, list[Path]], episodes: int) -> str:
    """A line a way: mean return and share of landings, mean and range over seeds."""
    lines = ["| trained | own physics | drawn as in training | held out |", "|---|---|---|---|"]
    for way, paths in runs.items():
        cells = []
        for kind in KINDS:
            each = [judged(path, kind, episodes) for path in paths]
            means = [float(returns.mean()) for returns in each]
            landed = np.mean([(returns >= LANDED).mean() for returns in each])
            cells.append(f"{np.mean(means):.0f} ({min(means):.0f} to {max(means):.0f}), {landed:.0%}")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(runs: dict[str, list[Path]], episodes: int, file: Path) -> None:
    """A group a kind of physics, a bar a way, a point a seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(KINDS), figsize=(10, 3.6), sharey=True, layout="constrained")
    for axis, kind in zip(axes, KINDS, strict=True):
        for i, paths in enumerate(runs.values()):
            shares = [float((judged(path, kind, episodes) >= LANDED).mean()) for path in paths]
            axis.barh(i, np.mean(shares), color="#1f6fb4", alpha=0.55, height=0.62)
            axis.plot(shares, [i] * len(shares), "o", color="#12405f", ms=4)
        axis.set_yticks(range(len(runs)), list(runs), fontsize=9)
        axis.set_title(
            {"own": "own physics", "inside": "drawn as in training", "held out": "held out"}[kind], fontsize=10
        )
        axis.set(xlim=(0, 1))
        axis.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.supxlabel(f"episodes of return {LANDED:.0f} or more; a point is a seed", fontsize=10)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--timesteps", type=int, default=500_000)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--directory", type=Path, default=ROOT / "lightning_logs" / "benchmark_lunarlander_physics")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "images" / "lunarlander_physics.png")
    parser.add_argument("--only", nargs="+", choices=list(WAYS), help="train these alone, without table and picture")
    arguments = parser.parse_args()
    ways = arguments.only or list(WAYS)
    runs: dict[str, list[Path]] = {way: [] for way in ways}
    for seed in range(arguments.seeds):
        for way in ways:
            runs[way].append(run(arguments.directory, way, seed, arguments.timesteps))
            for kind in KINDS:
                judged(runs[way][-1], kind, arguments.episodes)
    if arguments.only is None:
        print(table(runs, arguments.episodes))
        picture(runs, arguments.episodes, arguments.picture)


if __name__ == "__main__":
    main()
