"""A picture: one run straight through, and the same one killed with SIGKILL and resumed, again and again.

python benchmarks/stop_and_resume.py --out docs/images/stop_and_resume.png
"""

from __future__ import annotations

import argparse
import csv
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt

matplotlib.use("Agg")

CONFIG = Path(__file__).parents[1] / "configs" / "cartpole_ppo.yaml"
FIT = [sys.executable, "-m", "lit_rl", "fit", "--config", str(CONFIG), "--checkpoint.every_timesteps", "4096"]


def rows(run: Path) -> list[tuple[int, float]]:
    """Timestep and mean return of each iteration."""
    with open(run / "metrics.csv", newline="") as file:
        found = csv.DictReader(file)
        return [(int(row["step"]), float(row["rollout/ep_rew_mean"])) for row in found if row["rollout/ep_rew_mean"]]


def killed(root: Path, times: int) -> tuple[Path, list[int]]:
    """A run that is killed some seconds after it has begun to train, so many times; and from where it went on."""
    run, went_on, rng = root / "killed" / "version_0", list[int](), random.Random(0)
    for _ in range(times):
        with subprocess.Popen(
            [*FIT, "--name", "killed", "--requeue", "true", "--trainer.default_root_dir", str(root)],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("timestep:"):
                    went_on.append(int(line.split()[1].replace(",", "")))
                if line.startswith("loaded:"):
                    break
            time.sleep(rng.uniform(1.0, 1.8))
            process.kill()
    done = subprocess.run(
        [*FIT, "--name", "killed", "--requeue", "true", "--trainer.default_root_dir", str(root)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("timestep:"))
    return run, [*went_on[1:], int(line.split()[1].replace(",", ""))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        name = ["--name", "straight", "--trainer.default_root_dir", str(root)]
        subprocess.run([*FIT, *name], check=True, stdout=subprocess.DEVNULL)
        straight = rows(root / "straight" / "version_0")
        run, went_on = killed(root, arguments.kills)
        again = rows(run)
    assert again == straight, "they differ"
    print(f"killed {arguments.kills} times, went on from {went_on}; all {len(straight)} rows are equal")
    figure, axes = plt.subplots(figsize=(8, 3.2), dpi=110)
    axes.plot(*zip(*straight, strict=True), color="0.72", linewidth=6, label="straight through", solid_capstyle="round")
    axes.plot(*zip(*again, strict=True), color="tab:blue", linewidth=1.6, label="killed and resumed")
    for i, at in enumerate(went_on):
        height = next(value for step, value in again if step >= at)
        label = "kill -9, and the same command again" if i == 0 else None
        axes.plot([at], [height], "o", color="tab:red", markersize=7, label=label, zorder=3)
    axes.set_xlabel("timesteps")
    axes.set_ylabel("mean return")
    axes.set_title("PPO on CartPole-v1: equal to the bit", fontsize=11)
    axes.legend(frameon=False, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(arguments.out)


if __name__ == "__main__":
    main()
