"""benchmarks/resume_beside.py judges rightly, and docs/resume-beside.md says what its results.json says."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.cli import ROOT

RESULTS = ROOT / "benchmarks" / "resume_beside.json"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def update(number: int, rate: float = 1e-3) -> dict[str, Any]:
    """What a run says of itself before its update of this number, from 1."""
    return {
        "timesteps": 256 * number, "learning_rate": rate, "obs": [float(number)], "actions": [1.0],
        "moments": [float(number)], "streams": [f"numpy {number}", f"torch {number}"],
    }  # fmt: skip


def facts(begin: int | None, updates: list[dict[str, Any]], code: int = 0, traceback: bool = False) -> dict[str, Any]:
    line = None if begin is None else {"timesteps": begin, "moments": [begin / 256], "episodes": 3}
    return {"code": code, "begin": line, "updates": updates, "traceback": traceback, "said": "", "output": ""}


def begun(moments: list[float] | None) -> dict[str, Any]:
    """A resumed run that begins at timestep 0."""
    return {"begin": {"timesteps": 0, "moments": moments, "episodes": 0}}


def exact() -> dict[str, Any]:
    """What a peer gives that goes on exactly, and saves when it is stopped."""
    on = facts(2048, [update(9)])
    return {
        "deterministic": 0.0,
        "straight": facts(0, [update(number) for number in range(1, 33)]),
        "resumed": {**facts(4096, [update(17)]), "distance": 0.0},
        "killed": {"code": -9, "reached": 2560, "newest": 2048, "again": on, "on": on},
        "stopped": {"code": 75, "reached": 2560, "newest": 2560, "again": on, "on": on},
        "cut": {**facts(3072, [update(13)]), "named": True, "distance": 0.0},
        "flipped": {**facts(None, [], code=65), "named": True, "distance": None},
    }


def test_what_goes_on_exactly_is_good_everywhere() -> None:
    from resume_peers.judge import GOOD, PROPERTIES, judge

    verdicts = judge(exact(), "X")
    assert list(verdicts) == list(PROPERTIES)
    assert {grade for grade, _ in verdicts.values()} == {GOOD}
    assert verdicts["killed"].text == "goes on, 512 timesteps lost"
    assert verdicts["cut"].text == "named; goes on from 3,072"


@pytest.mark.parametrize(
    ("change", "name", "grade", "text"),
    [
        ({"deterministic": 0.5}, "deterministic", "bad", "not deterministic: off by 0.5"),
        ({"resumed": {"distance": 0.25}}, "weights", "bad", "off by 0.25"),
        (
            {"resumed": {"updates": [update(17, rate=2e-3), update(32)]}},
            "learning_rate", "bad", "first update 0.002, not 0.001",
        ),
        (
            {"resumed": {"updates": [update(17), update(32, rate=5e-4)]}},
            "learning_rate", "bad", "last update 0.0005, not 0.001",
        ),
        ({"resumed": begun(None)}, "counter", "bad", "0 of 4,096"),
        ({"resumed": begun(None)}, "moments", "bad", "lost"),
        ({"resumed": begun([15.0])}, "moments", "partly", "kept, off by 6.2%"),
        ({"resumed": begun(None)}, "episodes", "bad", "lost"),
        ({"resumed": {"updates": [update(18)]}}, "environments", "bad", "lost: new episodes"),
        ({"resumed": {"updates": [update(18)]}}, "streams", "bad", "lost"),
        ({"resumed": {"updates": [update(1)]}}, "streams", "bad", "begin again: the run's first numbers come twice"),
        ({"killed": {"again": facts(0, [update(1)])}}, "killed", "partly", "begins anew; with X: 512 timesteps lost"),
        (
            {"killed": {"again": facts(0, [update(1)]), "on": facts(None, [])}},
            "killed", "bad", "begins anew; cannot go on",
        ),
        ({"stopped": {"code": -15, "newest": 2048}}, "stopped", "bad", "not saved, exit code -15, 512 timesteps lost"),
        ({"cut": facts(None, [], code=1, traceback=True)}, "cut", "partly", "refused by a traceback"),
        ({"cut": {"named": False}}, "cut", "bad", "not named; goes on from 3,072"),
        ({"flipped": facts(4096, [update(17)])}, "flipped", "bad", "loaded without a word"),
        ({"flipped": facts(0, [update(17)])}, "flipped", "bad", "loaded without a word"),
        (
            {"flipped": {**facts(0, [update(17)]), "distance": 0.0}},
            "flipped", "none", "loaded; this file has no effect",
        ),
    ],
)  # fmt: skip
def test_what_does_not_is_said(change: dict[str, Any], name: str, grade: str, text: str) -> None:
    from resume_peers.judge import judge

    found = exact()
    for key, value in change.items():
        found[key] = {**found[key], **value} if isinstance(value, dict) else value
    assert judge(found, "X")[name] == (grade, text)


def test_a_peer_without_normalisation_is_not_blamed() -> None:
    from resume_peers.judge import judge

    found = exact()
    for each in (*found["straight"]["updates"], found["resumed"]["begin"]):
        each["moments"] = None
    assert judge(found, "X")["moments"] == ("none", "has none of its own")


@pytest.mark.parametrize("nested", [False, True])
def test_the_bit_that_is_flipped_is_of_a_weight(tmp_path: Path, nested: bool) -> None:
    from resume_peers.damage import flip

    weights = {"small": torch.ones(3), "large": torch.full((8, 8), 2.0)}
    inner = io.BytesIO()
    torch.save(weights, inner)
    path = tmp_path / "checkpoint"
    if nested:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data", "x" * 5000)
            archive.writestr("policy.pth", inner.getvalue())
    else:
        path.write_bytes(inner.getvalue())
    before = path.read_bytes()
    flip(path)
    after = path.read_bytes()
    (place,) = np.flatnonzero(np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8))
    assert bin(before[place] ^ after[place]).count("1") == 1
    number = before.index(np.full(64, 2.0, np.float32).tobytes()) + 4 * 32
    assert place == number + 3
    assert np.frombuffer(after[number : number + 4], np.float32)[0] != 2.0


def test_the_page_says_what_was_measured() -> None:
    from resume_peers.show import table

    results = json.loads(RESULTS.read_text())
    assert table(results) in (ROOT / "docs" / "resume-beside.md").read_text()
