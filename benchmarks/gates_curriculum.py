"""Gates, level by level against its hardest level alone: timesteps to 90% success, table and picture.

    python benchmarks/gates_curriculum.py     # runs what is missing, then writes docs/images/gates_curriculum.png

Both train with configs/gates_curriculum.yaml; "alone" has the last level as its only one. Every 16,384 timesteps 100
episodes of the hardest level are played with the most likely actions, on equal seeds for both; a run ends at the first
evaluation with 90 successes, or at the cap. Runs go one after the other, in processes of their own.

The promotion threshold was chosen on seeds 0 to 4, so the comparison is made on seeds 5 to 9.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
GOAL = 0.9
ALONE = "[{name: two narrow gates, env_kwargs: {level: 5}}]"
KINDS = {"curriculum": [], "hardest level alone": ["--curriculum.levels", ALONE]}


def run(directory: Path, kind: str, seed: int, cap: int) -> Path:
    """Train one run, unless it is there already; returns its run directory."""
    name = f"{kind.replace(' ', '_')}_{seed}"
    path = directory / name / "version_0"
    done = path / "done"
    if not done.exists():
        command = [sys.executable, "-m", "lit_rl", "fit", "--config", str(ROOT / "configs" / "gates_curriculum.yaml")]
        command += ["--name", name, "--trainer.default_root_dir", str(directory), "--seed_everything", str(seed)]
        command += ["--total_timesteps", str(cap), "--env.backend", "sync", "--eval.episodes", "100"]
        command += ["--eval.envs", "20", "--eval.stop_on_reward", str(GOAL), *KINDS[kind]]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
        done.touch()
    return path


def curve(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Timesteps and success rate of every evaluation."""
    with np.load(path / "evaluations.npz") as stored:
        return stored["timesteps"], stored["successes"].mean(axis=1)


def reached(path: Path) -> int | None:
    """The timestep of the first evaluation at the goal."""
    timesteps, success = curve(path)
    at = np.flatnonzero(success >= GOAL)
    return int(timesteps[at[0]]) if len(at) else None


def table(runs: dict[str, list[Path]], first: int, cap: int) -> str:
    """A line a seed, and the medians; a run that has not reached the goal counts as later than the cap."""
    lines = ["| seed | curriculum | hardest level alone |", "|---|---|---|"]
    for seed, paths in enumerate(zip(*runs.values(), strict=True), first):
        cells = []
        for path in paths:
            at, best = reached(path), curve(path)[1].max()
            cells.append(f"{at:,}" if at is not None else f"not in {cap:,} (best evaluation {best:.0%})")
        lines.append(f"| {seed} | {' | '.join(cells)} |")
    cells = []
    for paths in runs.values():
        found = [reached(path) for path in paths]
        median = float(np.median([np.inf if at is None else at for at in found]))
        text = f"{int(median):,}" if np.isfinite(median) else f"not in {cap:,}"
        cells.append(f"{sum(at is not None for at in found)} of {len(found)}, median {text}")
    return "\n".join([*lines, f"| all | {' | '.join(cells)} |"])


def picture(runs: dict[str, list[Path]], file: Path) -> None:
    """One thin curve a run, the mean of those still going as a thick one."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for (kind, paths), colour in zip(runs.items(), ("#1f6fb4", "#c8552b"), strict=True):
        for i, path in enumerate(paths):
            timesteps, success = curve(path)
            axes.plot(timesteps, success, color=colour, lw=1.4, alpha=0.75, label=kind if i == 0 else None)
            if success[-1] >= GOAL:
                axes.plot(timesteps[-1], success[-1], "o", color=colour, ms=6)
    axes.axhline(GOAL, color="0.4", lw=0.8, ls="--")
    axes.text(0.995, GOAL + 0.015, "90%", transform=axes.get_yaxis_transform(), ha="right", color="0.4")
    axes.set(xlabel="timesteps", ylabel="success on the hardest level", ylim=(-0.02, 1.02), xlim=(0, None))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:.0f}k" if x else "0")
    axes.legend(loc="center right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first_seed", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cap", type=int, default=300_000)
    parser.add_argument("--directory", type=Path, default=ROOT / "lightning_logs" / "benchmark_gates_curriculum")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "images" / "gates_curriculum.png")
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    runs = {kind: [run(arguments.directory, kind, seed, arguments.cap) for seed in seeds] for kind in KINDS}
    print(table(runs, arguments.first_seed, arguments.cap))
    picture(runs, arguments.picture)


if __name__ == "__main__":
    main()
