"""`lit-rl report`: one page, whole and harmless, whatever the run directory holds."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from tests.compare.test_diff import rewrite
from tests.compare.test_runs import changed
from tests.runs.conftest import Cli

EVIL = "</title><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
VOID = ("meta", "br")


class Page(HTMLParser):
    """Tags and attributes of a page; fails where they are not nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page_of(cli: Cli, *words: str) -> tuple[str, Page]:
    cli("report", *words, "--out", "page.html", "--overwrite")
    text = (cli.cwd / "page.html").read_text()
    page = Page(text)
    assert not page.tags & {"script", "img", "iframe", "link", "object", "form"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not [
        value for name, value in page.attributes if name in ("src", "href") and not re.match("#|data:", value or "")
    ]
    for drawing in re.findall(r"<svg.*?</svg>", text, re.S):
        ElementTree.fromstring(drawing)
    assert "nan" not in " ".join(value or "" for name, value in page.attributes if name in ("d", "cx", "x"))
    return text, page


def test_a_run_that_was_resumed(cli: Cli, runs: Path) -> None:
    text, page = page_of(cli, "resumed")
    assert "stopped by pause_at" in page.words
    assert any(word.startswith("resumed, to 512") for word in page.words)
    assert text.count('class="mark stop"') == text.count('class="mark resume"') == 2  # wide and narrow
    assert "evaluations, mean" in page.words
    assert "model.init_args.learning_rate" in page.words
    labels = [value for name, value in page.attributes if name == "aria-label"]
    assert any("evaluations, mean: from" in (label or "") for label in labels)
    assert any("segment 2 from 256 to 512" in (label or "") for label in labels)


def test_levels_forks_and_parents_are_marked(cli: Cli, runs: Path) -> None:
    text, page = page_of(cli, "levels", "forked", "warm")
    assert "level 1, far <b>" in page.words
    assert 'class="mark level"' in text
    assert 'class="mark fork"' in text
    assert "fork at 256" in page.words
    assert "warmstart at 512" in page.words


def test_parents_that_are_gone_are_said_to_be(cli: Cli, runs: Path) -> None:
    path = str(runs / "gone" / "version_3" / "checkpoints" / "t0000000001-s001")
    changed(runs / "warm" / "version_0" / "lineage.json", lambda lineage: lineage["parents"][0].update(path=path))
    _, page = page_of(cli, "warm")
    assert "gone/version_3" in page.words
    assert any("(gone)" in word for word in page.words)


def test_a_run_that_is_its_own_parent_ends(cli: Cli, runs: Path) -> None:
    path = str(runs / "warm" / "version_0" / "checkpoints" / "last")
    changed(runs / "warm" / "version_0" / "lineage.json", lambda lineage: lineage["parents"][0].update(path=path))
    text, _ = page_of(cli, "warm")
    assert text.count('class="box ') == 2


def test_hostile_text_stays_text(cli: Cli, runs: Path) -> None:
    run = runs / "levels" / "version_0"
    changed(
        run / "lineage.json",
        lambda lineage: lineage.update(name=EVIL, mode=EVIL, parents=[{"path": EVIL, "digest": EVIL}]),
    )
    changed(
        run / "lineage.json",
        lambda lineage: lineage["segments"][0].update(cause=EVIL, host=EVIL, start=EVIL, mode=EVIL),
    )
    changed(run / "lineage.json", lambda lineage: lineage["segments"][0]["versions"].update({EVIL: EVIL}))
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["env"]["class_path"] = config["model"]["class_path"] = config[EVIL] = EVIL
    config["curriculum"]["levels"][1]["name"] = EVIL
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    evil = runs / "evil" / "version_0"
    shutil.copytree(run, evil)
    (evil / f"{EVIL.replace('/', '')}.mp4").write_bytes(b"film")
    text, page = page_of(cli, "evil", "levels")
    assert "<script" not in text
    assert EVIL in page.words
    assert "<script" not in cli("runs", "evil", "--json").out.replace(json.dumps(EVIL)[1:-1], "")


@pytest.mark.parametrize(
    "lost", ["metrics.csv", "lineage.json", "config.yaml", "evaluations.npz", "checkpoints", "all"]
)
@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_whatever_is_lost_the_page_is_written(cli: Cli, runs: Path, lost: str, how: str) -> None:
    run = runs / "run" / "version_0"
    for path in [*run.iterdir()] if lost == "all" else [run / lost]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
            if how == "damaged":
                path.write_bytes(b"\xff\x00{[" * 9)
    text, page = page_of(cli, "lightning_logs/run/version_0", "warm")
    assert "run/version_0" in page.words
    if how == "damaged" and lost != "checkpoints":
        assert "WARNING" in text
    if lost == "metrics.csv":
        assert "evaluations, mean" in page.words


def test_damage_is_said_on_the_screen_too(cli: Cli, runs: Path) -> None:
    (runs / "run" / "version_0" / "evaluations.npz").write_bytes(b"PK\x03\x04")
    said = cli("report", "run/0", "warm", "--out", "page.html").out.splitlines()
    assert said[0] == "wrote page.html: 2 runs"
    assert len(said) == 2
    assert said[1].startswith("WARNING: lightning_logs/run/version_0/evaluations.npz")
    assert "WARNING" not in cli("report", "warm", "--out", "other.html").out


def test_what_test_has_found_is_shown(cli: Cli, runs: Path) -> None:
    assert "Checkpoints tested" not in page_of(cli, "levels")[1].words
    cli("test", "lightning_logs/levels/version_0", "--episodes", 3, "--eval.level", "all")
    cli("test", "lightning_logs/levels/version_0", "--episodes", 2, "--eval.deterministic", "false", "--which", "last")
    _, page = page_of(cli, "levels")
    start = page.words.index("Checkpoints tested")
    found = page.words[start : start + 80]
    assert {"most likely", "drawn", "all", "near", "far <b>", "3", "2"} <= set(found)
    (file,) = (runs / "levels" / "version_0" / "checkpoints").glob("*.test.json")
    result = json.loads(file.read_text())["results"][0]
    assert f"{result['mean_reward']:.4g}" in found
    file.write_text('{"results": [7]}')
    said = cli("report", "levels", "--out", "page.html", "--overwrite").out
    assert f"WARNING: {file.relative_to(cli.cwd)} is damaged" in said


@pytest.mark.parametrize("state", ["one row", "no episode", "cut line", "huge", "lineage of other kinds"])
def test_runs_that_have_hardly_begun(cli: Cli, runs: Path, state: str) -> None:
    run = runs / "levels" / "version_0"
    if state == "one row":
        rewrite(run, lambda rows: rows.__delitem__(slice(1, None)))
    elif state == "no episode":
        rewrite(run, lambda rows: [row.update({"rollout/ep_rew_mean": "nan"}) for row in rows])
    elif state == "huge":
        rewrite(run, lambda rows: [rows[i].update({"rollout/ep_rew_mean": f"{'-+'[i % 2]}1.7e308"}) for i in range(4)])
    elif state == "cut line":
        text = (run / "metrics.csv").read_text()
        (run / "metrics.csv").write_text(text[: len(text) // 2])
    else:
        changed(
            run / "lineage.json", lambda lineage: lineage["segments"][0].update(from_timesteps="0", to_timesteps=[])
        )
    _, page = page_of(cli, "levels")
    assert ("No episode has ended yet, as far as is logged." in page.words) == (state in ("no episode", "huge"))


def test_seeds_are_one_group(cli: Cli, runs: Path) -> None:
    for seed in (1, 2, 3):
        shutil.copytree(runs / "run" / "version_0", runs / f"x_seed_{seed}" / "version_0", symlinks=True)
        run = runs / f"x_seed_{seed}" / "version_0"
        changed(run / "lineage.json", lambda lineage, seed=seed: lineage.update(name=f"x_seed_{seed}"))
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump({**config, "seed_everything": seed}))
        results = np.array([[10.0 * seed], [20.0 * seed]])
        np.savez(run / "evaluations.npz", timesteps=[256, 512], results=results, ep_lengths=results)
    text, page = page_of(cli, "x_seed_1", "x_seed_2", "x_seed_3", "warm")
    assert "x, 3 runs" in page.words
    assert "1, 2, 3" in page.words
    assert "40 [20, 60]" in page.words  # of 20, 40 and 60
    assert 'class="band c1"' in text
    _, by_algorithm = page_of(cli, "x_seed_1", "x_seed_2", "x_seed_3", "warm", "--by", "algorithm")
    assert "PPO, 4 runs" in by_algorithm.words
    again, _ = page_of(cli, "x_seed_1", "x_seed_2", "x_seed_3", "warm")
    assert again.partition("<footer>")[0] == text.partition("<footer>")[0]


def test_a_video_comes_along(cli: Cli, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs / "run" / "version_1"
    assert "video" not in page_of(cli, "run")[1].tags
    secret = cli.cwd / "secret"
    secret.write_bytes(b"secret")
    (run / "link.mp4").symlink_to(secret)
    assert "video" not in page_of(cli, "run")[1].tags
    (run.parent / "version_1.mp4").write_bytes(b"film")
    assert "data:video/mp4;base64,ZmlsbQ==" in page_of(cli, "run")[0]
    monkeypatch.setattr("lit_rl.compare.video.MOST_BYTES", 3)
    text, page = page_of(cli, "run")
    assert "video" not in page.tags
    assert "too much for this page" in text


def test_a_page_is_not_replaced_without_a_word(cli: Cli, runs: Path) -> None:
    (cli.cwd / "page.html").write_text("mine")
    assert "page.html is there already" in cli.error("report", "run", "--out", "page.html")
    assert (cli.cwd / "page.html").read_text() == "mine"
    assert "a directory that is not there" in cli.error("report", "run", "--out", "no/page.html")
