"""Ways through a wide range of levels, beside each other: timesteps to 90% success on the hardest, table and picture.

    python benchmarks/curricula.py      # runs what is missing, then writes docs/images/curricula.png

Gates has 24 levels here, from a near goal in the open to a far one behind two narrow gates. Each way trains with the
model of configs/gates_curriculum.yaml and its own defaults; nothing was tuned but the threshold and the window of the
list, which are those of that file. Every 16,384 timesteps 100 episodes of the hardest level are played with the most
likely actions, on equal seeds for all; a run ends at the first evaluation with 90 successes, or at the cap.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from gates_curriculum import curve

ROOT = Path(__file__).parents[1]
GOAL, EVERY = 0.9, 16_384
GRID = [
    *((distance, 0, 0.5) for distance in (0.4, 0.8, 1.2, 1.8)),
    *((distance, 1, width) for width in (0.5, 0.4, 0.28) for distance in (0.9, 1.2, 1.5, 1.8)),
    *((distance, 2, width) for width in (0.5, 0.4, 0.33, 0.28) for distance in (1.6, 1.8)),
]
"""Distance of the goal, walls, half width of their gates; the last is the hardest level of Gates itself."""
RULE = {"metric": "success_rate", "threshold": 0.5, "window": 100}
WAYS: dict[str, dict[str, Any]] = {
    "hardest alone": {},
    "uniform": {"sample": "uniform"},
    "list of thresholds": {},
    "ladder": {"schedule": "ladder"},
    "learnability": {"sample": "learnability"},
    "learning progress": {"sample": "progress"},
    "level replay": {"sample": {"strategy": "replay", "seeds": None}},
}


def curriculum(way: str) -> dict[str, Any]:
    """The block of a run's YAML."""
    grid = GRID[-1:] if way == "hardest alone" else GRID
    levels: list[dict[str, Any]] = [
        {"name": f"{i:02d}", "attributes": {"distance": distance, "walls": walls, "gate_width": width}}
        for i, (distance, walls, width) in enumerate(grid)
    ]
    if way == "list of thresholds":
        for level in levels[:-1]:
            level["promote"] = RULE
    return {"levels": levels, **WAYS[way]}


def run(directory: Path, way: str, seed: int, cap: int) -> Path:
    """Train one run to the goal or the cap, from where it ended before a lower cap; returns its run directory."""
    name = f"{way.replace(' ', '_')}_{seed}"
    path = directory / name / "version_0"
    done = path / "done"
    if done.exists():
        if reached(path) is None and curve(path)[0][-1] < cap - EVERY:
            train(directory, name, "--mode", "resume", "--total_timesteps", str(cap))
        return path
    config = yaml.safe_load((ROOT / "configs" / "gates_curriculum.yaml").read_text())
    config |= {"name": name, "seed_everything": seed, "total_timesteps": cap, "curriculum": curriculum(way)}
    config["env"]["backend"] = "sync"
    config["eval"] |= {"every": EVERY, "episodes": 100, "envs": 20, "stop_on_reward": GOAL}
    config["checkpoint"] = {"every_timesteps": None, "save_best": False}
    shutil.rmtree(directory / name, ignore_errors=True)  # one that was not trained to its end
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    train(directory, name)
    done.touch()
    return path


def train(directory: Path, name: str, *options: str) -> None:
    """Call `fit` on a run's file."""
    command = [sys.executable, "-m", "lit_rl", "fit", "--config", str(directory / f"{name}.yaml"), *options]
    command += ["--trainer.default_root_dir", str(directory)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)


def reached(path: Path, goal: float = GOAL) -> int | None:
    """The timestep of the first evaluation at the goal."""
    timesteps, success = curve(path)
    at = np.flatnonzero(success >= goal)
    return int(timesteps[at[0]]) if len(at) else None


def median(found: list[int | None]) -> str:
    """Of timesteps, where a run that has not come so far counts as later than all others."""
    middle = float(np.median([np.inf if at is None else at for at in found]))
    return f"{int(middle):,}" if np.isfinite(middle) else "not reached"


def table(runs: dict[str, list[Path]]) -> str:
    """A line a way: how many runs reached the goal, medians of the timesteps to it and to half of it, and each run."""
    seeds = len(next(iter(runs.values())))
    titles = ["way", "reached 90%", "median to 50%", "median to 90%", *(f"seed {i}" for i in range(seeds))]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for way, paths in runs.items():
        found = [reached(path) for path in paths]
        each = [
            f"{at:,}" if at is not None else f"no ({curve(path)[1].max():.0%})"
            for at, path in zip(found, paths, strict=True)
        ]
        halfway = median([reached(path, 0.5) for path in paths])
        how_many = f"{sum(at is not None for at in found)} of {seeds}"
        lines.append(f"| {' | '.join([way, how_many, halfway, median(found), *each])} |")
    return "\n".join(lines)


def picture(runs: dict[str, list[Path]], file: Path) -> None:
    """A small plot a way: one curve a run."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(10, 4.6), sharex=True, sharey=True, layout="constrained")
    for axis, (way, paths) in zip(axes.flat, runs.items(), strict=False):
        for path in paths:
            timesteps, success = curve(path)
            axis.plot(timesteps, success, color="#1f6fb4", lw=1.3, alpha=0.8)
            if success[-1] >= GOAL:
                axis.plot(timesteps[-1], success[-1], "o", color="#1f6fb4", ms=4.5)
        axis.axhline(GOAL, color="0.5", lw=0.8, ls="--")
        axis.set_title(way, fontsize=10)
        axis.set(ylim=(-0.03, 1.03), xlim=(0, None))
        axis.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:.0f}k" if x else "0")
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(runs) :]:
        axis.set_visible(False)
    figure.supxlabel("timesteps", fontsize=10)
    figure.supylabel("success on the hardest level", fontsize=10)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cap", type=int, default=800_000)
    parser.add_argument("--directory", type=Path, default=ROOT / "lightning_logs" / "benchmark_curricula")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "images" / "curricula.png")
    parser.add_argument("--only", nargs="+", choices=list(WAYS), help="run these ways alone, without table and picture")
    arguments = parser.parse_args()
    ways = arguments.only or list(WAYS)
    runs: dict[str, list[Path]] = {way: [] for way in ways}
    for seed in range(arguments.seeds):
        for way in ways:
            runs[way].append(run(arguments.directory, way, seed, arguments.cap))
    if arguments.only is None:
        print(table(runs))
        picture(runs, arguments.picture)


if __name__ == "__main__":
    main()
