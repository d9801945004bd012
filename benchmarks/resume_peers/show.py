"""Verdicts as a table and as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resume_peers.judge import BAD, GOOD, NONE, PARTLY, PROPERTIES

COLOURS = {GOOD: "#cfe8cf", PARTLY: "#fbe8b0", BAD: "#f4c7c3", NONE: "#ececec"}
SIGNS = {GOOD: "yes", PARTLY: "partly", BAD: "no", NONE: "-"}


def table(results: Mapping[str, Any]) -> str:
    """Markdown: a row for each property, a column for each peer."""
    peers = results["peers"]
    lines = ["| | " + " | ".join(f"{each['title']} {each['version']}".strip() for each in peers.values()) + " |"]
    lines.append("|" + "---|" * (len(peers) + 1))
    for name, title in PROPERTIES.items():
        cells = [_cell(each, name) for each in peers.values()]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(peer: Mapping[str, Any], name: str) -> str:
    if "failed" in peer:
        return "not measured"
    return str(peer["verdicts"][name][1])


def picture(results: Mapping[str, Any], path: Path) -> None:
    """The same as a picture: green, amber, red, with a word that says which."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from PIL import Image

    peers = {name: each for name, each in results["peers"].items() if "failed" not in each}
    figure, axes = plt.subplots(figsize=(15, 9.2))
    left = 1.9
    axes.set_xlim(0, left + len(peers))
    axes.set_ylim(len(PROPERTIES) + 0.55, 0)
    axes.axis("off")
    for column, peer in enumerate(peers.values()):
        words = f"{peer['title']}\n{peer['version']}"
        axes.text(left + column + 0.5, 0.28, words, ha="center", va="center", fontsize=9.5, weight="bold")
    for row, (name, title) in enumerate(PROPERTIES.items()):
        top = row + 0.55
        axes.text(0, top + 0.5, "\n".join(textwrap.wrap(title, 30)), va="center", fontsize=9.5)
        for column, peer in enumerate(peers.values()):
            grade, text = peer["verdicts"][name]
            box = (left + column + 0.02, top + 0.04)
            axes.add_patch(plt.Rectangle(box, 0.96, 0.92, facecolor=COLOURS[grade], edgecolor="none"))
            middle = left + column + 0.5
            axes.text(middle, top + 0.2, SIGNS[grade], ha="center", va="center", fontsize=8.5, weight="bold")
            words = "\n".join(textwrap.wrap(text.replace("`", ""), 24, break_long_words=False))
            axes.text(middle, top + 0.6, words, ha="center", va="center", fontsize=7, linespacing=1.05)
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99)
    figure.savefig(path, dpi=95)
    plt.close(figure)
    with Image.open(path) as drawn:
        few = drawn.convert("RGB").quantize(48)  # a fourth of the bytes, and nobody sees it
    few.save(path, optimize=True)
