"""Mistakes in a sweep are one line, and nothing is written."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from lit_rl.tuning.sweep import Sweep
from tests.helpers.cli import ROOT
from tests.runs.conftest import Cli
from tests.sweep.conftest import SEARCH, write_sweep


@pytest.mark.parametrize(
    ("over", "text"),
    [
        ({"trails": 3}, "Did you mean 'trials'?"),
        ({"trials": 0}, "trials is 0; it must be at least 1"),
        ({"run": None}, "run is missing"),
        ({"run": "rum.yaml"}, "Did you mean 'run.yaml'?"),
        ({"sampler": "tpr"}, "Did you mean 'tpe'?"),
        ({"sampler": "grid"}, "search.model.learning_rate: a grid takes choice or int"),
        ({"pruner": "medium"}, "Did you mean 'median'?"),
        ({"direction": "up"}, "'up' is not one of maximize, minimize"),
        ({"value": "worst"}, "'worst' is not one of last, best"),
        ({"metric": "eval/mean_rewrad"}, "Did you mean 'eval/mean_reward'?"),
        ({"metric": "eval/mean_reward"}, "needs evaluations; give eval.every"),
        ({"seeds": [1, 1]}, "list each seed once"),
        ({"seeds": [1, 2], "pruner": "median"}, "several seeds is not pruned"),
        ({"study": "run.yaml"}, "run.yaml holds something else"),
        ({"search": {}}, "search: is empty"),
        ({"search": {"model.learning_rat": {"uniform": [0.1, 0.2]}}}, "Did you mean 'learning_rate'?"),
        ({"search": {"model.gamma": {"uniform": [0.9, 1.5]}}}, "model.gamma is 1.5; it must be"),
        ({"search": {"model.gamma": {"unifrom": [0.9, 1.0]}}}, "Did you mean 'uniform'?"),
        ({"search": {"model.gamma": {"uniform": [0.9]}}}, "expected two numbers [from, to]"),
        ({"search": {"model.gamma": {"uniform": [0.9, 0.8]}}}, "0.9 is not below 0.8"),
        ({"search": {"model.learning_rate": {"loguniform": [0, 0.1]}}}, "0 has no logarithm"),
        ({"search": {"model.n_steps": {"uniform": [8, 64]}}}, "model.n_steps: expected a whole number"),
        ({"search": {"model.n_steps": {"int": [8, 64], "step": 5}}}, "steps of 5 from 8 do not end at 64"),
        ({"search": {"model.n_steps": {"choice": [8, 0]}}}, "model.n_steps is 0; it must be at least"),
        ({"search": {"env.normalize.obs": {"choice": [True, "yes"]}}}, "expected true or false, got 'yes'"),
        ({"search": {"model.n_steps": {"choice": [8, 8]}}}, "8 stands twice"),
        ({"search": {"name": {"choice": ["a", "b"]}}}, "search.name: is not searched over"),
    ],
)
def test_in_the_file(cli: Cli, over: dict[str, Any], text: str) -> None:
    assert text in cli.error("sweep", write_sweep(cli.cwd, over))


@pytest.mark.parametrize(
    ("run", "text"),
    [
        ({"mode": "resume"}, "mode: a trial begins a run of its own"),
        ({"pause_at": 128}, "pause_at: a trial goes to its end"),
        ({"env": {"id": "CartPole-v7"}}, "Did you mean 'CartPole-v1'"),
    ],
)
def test_in_the_run(cli: Cli, run: dict[str, Any], text: str) -> None:
    assert text in cli.error("sweep", write_sweep(cli.cwd, **run))


def test_in_the_options(cli: Cli) -> None:
    sweep = write_sweep(cli.cwd)
    assert "name a sweep file" in cli.error("sweep")
    assert "lightning_logs/tuned has not begun" in cli.error("sweep", sweep, "--show")
    assert "--write-best: run.yaml is there already" in cli.error("sweep", sweep, "--write-best", "run.yaml")
    assert "other.yaml' is not there" in cli.error("sweep", sweep, "--config", "other.yaml")


def test_without_optuna(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = write_sweep(cli.cwd)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'lit-rl[sweep]'" in cli.error("sweep", sweep)


def test_the_example_is_a_sweep(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from lit_rl.cli.sweep import read_sweep

    monkeypatch.chdir(ROOT)
    asked = read_sweep("configs/sweeps/cartpole_ppo.yaml", {"study": str(cli.cwd / "study")})
    assert asked.timesteps == 100_000
    assert asked.sweep.pruner == "median"


def test_a_grid_is_as_large_as_its_combinations() -> None:
    search = {key: each for key, each in SEARCH.items() if "loguniform" not in each}
    assert Sweep(run="a", study="b", search=search, sampler="grid").wanted == 3 * 2 * 2
    assert Sweep(run="a", study="b", search=search, sampler="grid", trials=5).wanted == 5
