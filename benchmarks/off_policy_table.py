"""Tables and a picture of what `off_policy_learning.py` has printed and written.

    python benchmarks/off_policy_table.py --lines results.jsonl
    python benchmarks/off_policy_table.py --curves lit_rl=runs/ours stable-baselines3=runs/theirs --picture curve.png

`--curves` reads the evaluations beside training in directories that were given as `--into`, also of runs that go on.
"""

from __future__ import annotations

import argparse
import json
from itertools import groupby
from pathlib import Path
from typing import Any

from off_policy_learning import CURVE_EPISODES, curve

PACKAGES = ("lit_rl", "stable-baselines3")
ZOO = {
    ("CartPole-v1", "DQN"): "500 ± 0",
    ("LunarLander-v3", "DQN"): "154 ± 79 for v2",
    ("Pendulum-v1", "SAC"): "-157 ± 89",
    ("Pendulum-v1", "TD3"): "-152 ± 90",
    ("Pendulum-v1", "DDPG"): "-152 ± 94",
    ("MountainCarContinuous-v0", "SAC"): "94.7 ± 1.1",
    ("CartPole-v1", "QRDQN"): "500 ± 0",
    ("Pendulum-v1", "TQC"): "-151 ± 88",
}
"""What the RL Zoo publishes for the same settings and timesteps."""


def table(lines: list[dict[str, Any]]) -> str:
    """A row for each seed: mean and deviation of the final policy's returns with either package."""
    rows = ["| | seed | lit_rl | stable-baselines3 |", "|---|---|---|---|"]
    what = ("algorithm", "env", "timesteps", "episodes")
    ordered = sorted(lines, key=lambda line: [*(str(line[key]) for key in what), line["seed"]])
    for (algorithm, env, timesteps, episodes), group in groupby(ordered, lambda line: [line[key] for key in what]):
        found = {(line["seed"], line["package"]): f"{line['mean']:.1f} ± {line['std']:.1f}" for line in group}
        published = f" (Zoo: {ZOO[env, algorithm]})" if (env, algorithm) in ZOO else ""
        title = f"{algorithm}, {env}, {timesteps:,} timesteps, {episodes} episodes{published}"
        for seed in sorted({seed for seed, _ in found}):
            cells = [found.get((seed, package), "not run") for package in PACKAGES]
            rows.append(f"| {title} | {seed} | {' | '.join(cells)} |")
            title = ""
    return "\n".join(rows)


def curves(directories: dict[str, Path]) -> str:
    """A row for each timestep at which all were evaluated."""
    found = {package: {point["timesteps"]: point for point in curve(at)} for package, at in directories.items()}
    common = sorted(set.intersection(*(set(points) for points in found.values())))
    rows = [f"| timesteps | {' | '.join(found)} |", f"|---|{'---|' * len(found)}"]
    for timesteps in common:
        cells = [f"{points[timesteps]['mean']:.0f} ± {points[timesteps]['std']:.0f}" for points in found.values()]
        rows.append(f"| {timesteps:,.0f} | {' | '.join(cells)} |")
    return "\n".join(rows)


def picture(directories: dict[str, Path], file: Path) -> None:
    """Mean returns over timesteps, and one deviation of the episodes around them."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for (package, at), colour in zip(directories.items(), ("#1f6fb4", "#c8552b"), strict=False):
        points = curve(at)
        timesteps, mean, std = ([point[key] for point in points] for key in ("timesteps", "mean", "std"))
        axes.plot(timesteps, mean, "o-", color=colour, lw=1.6, ms=4, label=package)
        low, high = ([m + sign * s for m, s in zip(mean, std, strict=True)] for sign in (-1.0, 1.0))
        axes.fill_between(timesteps, low, high, color=colour, alpha=0.15, lw=0)
    axes.set(xlabel="timesteps", ylabel=f"return ({CURVE_EPISODES} deterministic episodes)", xlim=(0, None))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:.0f}k" if x else "0")
    axes.legend(loc="upper left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=Path, default=None, help="a file of lines of JSON")
    parser.add_argument("--curves", nargs="+", default=[], metavar="PACKAGE=DIRECTORY")
    parser.add_argument("--picture", type=Path, default=None, help="of the curves")
    given = parser.parse_args()
    if given.lines is not None:
        print(table([json.loads(line) for line in given.lines.read_text().splitlines() if line]))
    directories = {package: Path(at) for package, _, at in (each.partition("=") for each in given.curves)}
    if directories:
        print(curves(directories))
        if given.picture is not None:
            picture(directories, given.picture)


if __name__ == "__main__":
    main()
