"""From speeds of rounds to ratios, a table and a picture."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contenders.process import KINDS
from contenders.works import Work

Speeds = Mapping[str, Sequence[float]]
"""Timesteps a second of each contender of a work, round by round."""

LIMITS = ("environment", "products")
COLOURS = {
    "lit_rl": "#0072b2",
    "lit_rl_native": "#56b4e9",
    "sbx": "#e69f00",
    "cleanrl_style": "#999999",
    "bare": "#009e73",
    "sb3": "black",
}
"""Of Okabe and Ito, which colour-blind people tell apart."""


@dataclass(frozen=True)
class Ratio:
    """A speed over another's of the same round: median, least and greatest of the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, speeds: Sequence[float], base: Sequence[float]) -> Ratio:
        each = [a / b for a, b in zip(speeds, base, strict=True)]
        return cls(statistics.median(each), min(each), max(each))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"

    @property
    def share(self) -> str:
        """As a share of time."""
        return f"{self.median:.0%}" if self.median >= 0.01 else "<1%"


def describe(work: Work) -> str:
    """What is done, in a line of a table."""
    words = [f"{work.algorithm} {work.env}"]
    if work.episode:
        return f"{words[0]}, {work.settings['n_delta']} directions, {work.policy}"
    if work.n_envs > 1 or not work.off_policy:
        words.append(f"{work.n_envs} env{'s' if work.n_envs > 1 else ''} x {work.settings['n_steps']}")
    if work.algorithm != "A2C":
        words.append(f"batch {work.batch_size}")
    if "n_critic_updates" in work.settings:
        words.append(f"{work.settings['n_critic_updates']} epochs of the critic")
    if "n_epochs" in work.settings:
        words.append(f"{work.settings['n_epochs']} epochs")
    if work.off_policy:
        words.append("x".join(map(str, work.net_arch)))
        freq, steps = work.settings["train_freq"], work.settings["gradient_steps"]
        words.append(
            f"{steps} gradient step{'s' if steps > 1 else ''} every {freq}" if freq > 1 else "1 gradient step a step"
        )
    words += ["normalised"] if work.normalize else []
    words += ["all cores"] if work.cores is None else []
    return ", ".join(words)


def table(works: Mapping[str, Work], speeds: Mapping[str, Speeds]) -> str:
    """Timesteps a second, behind them ratios to stable-baselines3; and the limits' shares of lit_rl's time."""
    there = [kind for kind in KINDS if any(kind in found for found in speeds.values())]
    runners, limits = [kind for kind in there if kind not in LIMITS], [kind for kind in there if kind in LIMITS]
    heads = ["work", *(KINDS[kind].title for kind in runners), *(f"{KINDS[k].title}, of `fit`'s time" for k in limits)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, found in speeds.items():
        cells = [f"`{name}`: {describe(works[name])}"]
        for kind in runners:
            cell = f"{statistics.median(found[kind]):,.0f}" if kind in found else ""
            compared = kind in found and "sb3" in found and kind != "sb3"
            cells.append(f"{cell}: {Ratio.of(found[kind], found['sb3'])}" if compared else cell)
        for kind in limits:
            compared = kind in found and "lit_rl" in found
            cells.append(Ratio.of(found["lit_rl"], found[kind]).share if compared else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def short(work: Work) -> str:
    """A label of the picture."""
    what = f"{work.n_envs} envs" if work.n_envs > 1 else f"{'x'.join(map(str, work.net_arch))}, batch {work.batch_size}"
    return f"{work.algorithm} {work.env.removeprefix('ALE/')}\n{what}{', all cores' if work.cores is None else ''}"


def _axes(width: float, height: float) -> tuple[Any, Any, Any]:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 10})
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return plt, figure, axes


def bars(works: Mapping[str, Work], speeds: Mapping[str, Speeds], file: Path) -> None:
    """Ratios to stable-baselines3 as bars, from the least to the greatest ratio of a round as lines."""
    shown = {name: found for name, found in speeds.items() if "sb3" in found}
    kinds = [kind for kind in KINDS if kind in COLOURS and kind != "sb3" and any(kind in f for f in shown.values())]
    if not kinds:
        return
    places: list[float] = []
    labels: list[str] = []
    rows: dict[str, list[tuple[float, Ratio]]] = {kind: [] for kind in kinds}
    y = 0.0
    for name, found in shown.items():
        there = [kind for kind in kinds if kind in found]
        for i, kind in enumerate(there):
            rows[kind].append((y + i, Ratio.of(found[kind], found["sb3"])))
        places.append(y + (len(there) - 1) / 2)
        labels.append(short(works[name]))
        y += len(there) + 0.9
    _, figure, axes = _axes(9, 1.1 + 0.27 * y)
    for kind, bars_of in rows.items():
        at, ratios = [place for place, _ in bars_of], [ratio for _, ratio in bars_of]
        medians = [ratio.median for ratio in ratios]
        spread = [[r.median - r.low for r in ratios], [r.high - r.median for r in ratios]]
        axes.barh(at, medians, 0.86, color=COLOURS[kind], label=KINDS[kind].title.replace("`", ""))
        axes.errorbar(medians, at, xerr=spread, fmt="none", ecolor="0.25", elinewidth=1, capsize=2)
        for place, ratio in zip(at, ratios, strict=True):
            axes.annotate(
                f"{ratio.median:.2f}", (ratio.high, place), (5, 0), textcoords="offset points", va="center", fontsize=9,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
    axes.axvline(1.0, color="black", lw=1, ls="--")
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(y - 0.6, -1.0), xlabel="speed / stable-baselines3's (dashed), same work, same cores")
    axes.margins(x=0.1)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)


def curves(works: Mapping[str, Work], speeds: Mapping[str, Speeds], file: Path) -> None:
    """Timesteps a second over the number of environments."""
    plt, figure, axes = _axes(9, 5)
    for kind in [kind for kind in KINDS if kind in COLOURS and any(kind in found for found in speeds.values())]:
        points = [(works[name].n_envs, found[kind]) for name, found in speeds.items() if kind in found]
        x, y = [n for n, _ in points], [statistics.median(each) for _, each in points]
        spread = [[m - min(each) for m, (_, each) in zip(y, points, strict=True)],
                  [max(each) - m for m, (_, each) in zip(y, points, strict=True)]]  # fmt: skip
        title, style = KINDS[kind].title.replace("`", ""), "--" if kind == "sb3" else "-"
        axes.errorbar(x, y, yerr=spread, color=COLOURS[kind], marker="o", ls=style, capsize=3, label=title)
    axes.set(xscale="log", yscale="log", xlabel="environments", ylabel="timesteps a second")
    ticks = sorted({works[name].n_envs for name in speeds})
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    low, high = axes.get_ylim()
    marks = [d * 10**e for e in range(2, 8) for d in (1, 2, 5) if low <= d * 10**e <= high]
    axes.set_yticks(marks, [f"{mark:,}" for mark in marks])
    axes.grid(axis="y", color="0.9")
    axes.set_title("PPO CartPole-v1, 8,192 transitions a rollout, batch 2,048, 4 epochs", fontsize=10)
    axes.legend(frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)
    plt.close(figure)
