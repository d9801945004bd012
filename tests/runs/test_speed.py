"""`benchmarks/speed.py`: its arithmetic with made-up numbers, and what is imported where. Nothing is timed."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.cli import ROOT, environment

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: importlib.import_module(f"contenders.{name}")


def test_ratios_are_taken_within_a_round(load: Any) -> None:
    ratio = load("report").Ratio.of([20.0, 30.0, 80.0], [10.0, 20.0, 20.0])
    assert (ratio.median, ratio.low, ratio.high) == (2.0, 1.5, 4.0)
    assert str(ratio) == "2.00 (1.50 to 4.00)"


def test_the_table_compares_with_sb3_and_shows_the_limits_shares(load: Any) -> None:
    works, report = load("works").WORKS, load("report")
    speeds = {
        "ppo_cartpole_8": {"lit_rl": [2000.0, 2200.0, 4000.0], "sb3": [1000.0] * 3, "environment": [8000.0] * 3},
        "a2c_cartpole": {"lit_rl": [900.0]},
    }
    head, _, first, second = report.table(works, speeds).splitlines()
    assert head == "| work | lit_rl `fit` | stable-baselines3 | environment alone, of `fit`'s time |"
    assert first.endswith("4 epochs | 2,200: 2.20 (2.00 to 4.00) | 1,000 | 28% |")
    assert second == "| `a2c_cartpole`: A2C CartPole-v1, 8 envs x 5 | 900 |  |  |"


def test_pictures_are_written(load: Any, tmp_path: Path) -> None:
    works, report = load("works"), load("report")
    report.bars(works.WORKS, {"sac_pendulum": {"lit_rl": [2.0, 3.0], "sb3": [1.0, 1.0]}}, tmp_path / "bars.png")
    speeds = {name: {"lit_rl": [2000.0, 3000.0], "sb3": [1000.0, 1500.0]} for name in works.SCALING}
    report.curves(works.SCALING, speeds, tmp_path / "curves.png")
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("bars.png", "curves.png"))


def test_the_clock_leaves_warm_up_out(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    work, module = load("works").WORKS["dqn_cartpole_zoo"], load("clock")
    times = iter([1.0, 3.0, 7.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(times))
    clock = module.Clock(work, units=2)
    assert (work.unit, work.first, clock.target) == (256, 2, 1024)  # learning starts at 200: in the first 256
    for timesteps in (256, 512, 768, 1024):
        clock.tick(timesteps)
    assert clock.measured == (512, 6.0)


def test_every_work_says_how_much_it_is(load: Any) -> None:
    works = load("works")
    found = {name: (work.unit, work.gradient_steps, work.batch_size) for name, work in works.WORKS.items()}
    assert found["ppo_cartpole_8"] == (1024, 16, 256)
    assert found["a2c_cartpole"] == (2000, 50, 40)
    assert found["dqn_cartpole"] == (256, 64, 32)
    assert found["sac_pendulum"] == (64, 64, 256)
    assert {work.unit for work in works.SCALING.values()} == {works.TRANSITIONS}


@pytest.mark.parametrize(
    ("name", "floats"),
    [
        # two nets of 4-64-64-n, 2 and 1: forward and weights all three layers, inputs all but the first
        ("ppo_cartpole_8", 256 * (3 * (2 * 64 * 64 + 64 * 3) + 2 * 2 * 4 * 64)),
        # the target forward; the net as above
        ("dqn_cartpole_zoo", 64 * (4 * (256 * 256 + 256 * 2) + 3 * 4 * 256)),
    ],
)
def test_products_are_those_of_an_update(load: Any, name: str, floats: int) -> None:
    products, work = load("products"), load("works").WORKS[name]
    every, second = products.of_gradient_step(work, *products.sizes(work), "cpu")
    assert second == []
    assert sum(a.shape[0] * a.shape[1] * b.shape[1] for a, b in (each.args for each in every)) == floats


def test_calls_of_torch_are_counted_by_their_shapes(load: Any) -> None:
    load("works")  # makes the directory known
    module = importlib.import_module("time_shares")
    a, b = torch.ones(3, 4), torch.ones(4, 5)
    with module.Recorder() as recorder:
        first, again, other = torch.mm(a, b), torch.mm(a, b), torch.mm(b[:, :4], b)
        a.add_(1.0)
    assert torch.equal(first, again)
    assert other.shape == (4, 5)
    products = [call for call in recorder.calls.values() if call.is_product]
    assert sorted(call.count for call in products) == [1, 2]
    assert torch.equal(a, torch.full((3, 4), 2.0))  # each was made once
    mm = next(call for call in products if call.count == 2)
    assert mm.args[0] is not a
    assert all(mm.seconds(small) > 0 for small in (True, False))


def test_sbx_is_measured_without_lit_rl(tmp_path: Path) -> None:
    """In its own environment there is no lit_rl, torch's Lightning or matplotlib."""
    (tmp_path / "sbx.py").touch()
    code = "import sys, contenders.worker, contenders.sbx; print({'lit_rl', 'lightning', 'jax'} & set(sys.modules))"
    given = {**environment(), "PYTHONPATH": f"{BENCHMARKS}:{tmp_path}"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=given, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
