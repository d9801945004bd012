"""The levels of a run in `lit-rl report`: from its files alone, whatever they hold."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.compare.test_report import EVIL, Page, page_of
from tests.runs.conftest import Cli

NAMES = ("near", "wide", EVIL)
CAPTIONS = {
    "coming": "Coming episodes on each level",
    "envs": "Environments on each level",
    "window": "Success on each level, over the window of the strategy",
    "episodes": "Success on each level, of the episodes that ended then",
    "current": "Current level",
}


def write_run(
    runs: Path, curriculum: Mapping[str, Any], rows: list[dict[str, Any]], episodes: list[tuple[int, int, int]]
) -> Path:
    """A run as a copy of another one, with levels: lines of metrics.csv, and episodes as (length, level, success)."""
    run = runs / "made" / "version_0"
    shutil.copytree(runs / "run" / "version_0", run, symlinks=True)
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**settings, "curriculum": curriculum}, sort_keys=False))
    with open(run / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    lines = "".join(f"1.0,{length},0.5,{level},{success}\n" for length, level, success in episodes)
    (run / "monitor.csv").write_text("#{}\nr,l,t,level,is_success\n" + lines)
    return run


def captions(page: Page) -> list[str]:
    return [kind for word in page.words for kind, caption in CAPTIONS.items() if word.startswith(caption)]


def labels(page: Page, caption: str) -> str:
    """What is read out of a picture."""
    return next(str(value) for name, value in page.attributes if name == "aria-label" and caption in str(value))


def heights(text: str) -> list[list[float]]:
    """Of the first areas in a page: for each level the y of its points, from left to right and back."""
    drawing = next(each for each in re.findall(r"<svg.*?</svg>", text, re.S) if '<path class="s' in each)
    paths = re.findall(r'<path class="s\d+" d="M([^"]*)Z">', drawing)
    return [[float(point.split()[1]) for point in path.split("L")] for path in paths]


def test_shares_and_success_of_a_strategy(cli: Cli, runs: Path) -> None:
    shares = ((0.5, 0.25, 0.25), (0.0, 0.25, 0.75))
    rows = [
        {"step": 100 * i}
        | {f"curriculum/probability/{name}": p for name, p in zip(NAMES, shares[i - 1], strict=True)}
        | ({f"curriculum/success_rate/{name}": i / 4 for name in NAMES[:2]})
        for i in (1, 2)
    ]
    levels = [{"name": name} for name in NAMES]
    write_run(runs, {"sample": "learnability", "levels": levels}, rows, [])
    text, page = page_of(cli, "made")
    assert captions(page) == ["coming", "window"]
    near, wide, far = heights(text)
    top, bottom = far[0], near[-1]
    assert far[0] == far[1] == pytest.approx(10)  # all together are everything
    assert [(bottom - y) / (bottom - top) for y in near[:2]] == pytest.approx([0.5, 0.0], abs=0.01)
    assert [(bottom - y) / (bottom - top) for y in wide[:2]] == pytest.approx([0.75, 0.25], abs=0.01)
    assert "near: 0% at the end. wide: 25% at the end." in labels(page, CAPTIONS["coming"])
    assert labels(page, CAPTIONS["window"]).endswith("near: 50% at the end. wide: 50% at the end.")  # the last has none
    assert "<script" not in text
    assert EVIL in page.words


def test_dimensions_a_ladder_and_a_list_with_success_from_the_episodes(cli: Cli, runs: Path) -> None:
    ladder = {"schedule": "ladder", "n_levels": 2}
    steps = {"levels": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}
    rows = [
        {"step": 100 * i, "curriculum/up/envs/0": 1 - i / 4, "curriculum/up/envs/1": i / 4, "curriculum/of/level": i}
        for i in range(3)
    ]
    # the last dimension's levels are the fastest: 1 is (0, b), 5 is (1, c)
    run = write_run(runs, {"dimensions": {"up": ladder, "of": steps}}, rows, [(50, 1, 1), (50, 1, 0), (100, 5, 1)])
    _, page = page_of(cli, "made")
    assert captions(page) == ["envs", "episodes", "current", "episodes"]
    assert {"Levels: up", "Levels: of"} <= set(page.words)
    read = [
        str(value) for name, value in page.attributes if name == "aria-label" and CAPTIONS["episodes"] in str(value)
    ]
    assert read[0].endswith("0: 0% at the end. 1: 100% at the end.")
    assert read[2].endswith("b: 0% at the end. c: 100% at the end.")
    (run / "monitor.csv").write_bytes(b"\xff\x00{[" * 9)
    text, page = page_of(cli, "made")
    assert captions(page) == []
    assert "monitor.csv is damaged" in text
    (run / "monitor.csv").unlink()
    _, page = page_of(cli, "made")
    assert captions(page) == ["envs", "current"]
    (run / "config.yaml").unlink()
    assert captions(page_of(cli, "made")[1]) == ["envs", "current"]


def test_many_levels_share_colours_and_rows(cli: Cli, runs: Path) -> None:
    shares = [{f"curriculum/probability/{i}": 1 / 100 for i in range(100)} for _ in range(400)]
    rows = [
        {"step": 10 * t} | each | {f"curriculum/success_rate/{i}": 0.5 for i in range(t // 4)}
        for t, each in enumerate(shares)
    ]
    write_run(runs, {"sample": "uniform", "n_levels": 100}, rows, [])
    text, page = page_of(cli, "made")
    areas = heights(text)
    assert len(areas) == 20
    assert max(map(len, areas)) <= 320
    assert {"0 to 4", "95 to 99"} <= set(page.words)
    assert "5 to 9: 5% at the end." in labels(page, CAPTIONS["coming"])
    assert len(text) < 600_000


def test_bounds_are_a_band(cli: Cli, runs: Path) -> None:
    rows = [
        {"step": 100, "curriculum/low/wind": 0.0, "curriculum/high/wind": 1.0, "curriculum/npd": 0.0},
        {"step": 200, "curriculum/low/wind": -2.0, "curriculum/high/wind": 3.0, "curriculum/npd": 1.0},
    ]
    write_run(runs, {"n_levels": 1, "adr": {}}, rows, [])
    text, page = page_of(cli, "made")
    assert captions(page) == []
    assert 'class="band c1"' in text
    said = labels(page, "wind, between its bounds")
    assert "wind, high: from 1 to 3 at timestep 200" in said
    assert "low: from 0 to -2 at timestep 200" in said


def test_a_run_of_this_program(cli: Cli, runs: Path) -> None:
    _, page = page_of(cli, "levels")
    assert captions(page)[0] == "current"
    assert captions(page_of(cli, "run")[1]) == []
