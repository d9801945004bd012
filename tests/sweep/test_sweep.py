"""Whole sweeps of short runs."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from lit_rl.compare.logs import RETURN, read_columns, read_evaluations
from lit_rl.state.plain import first_difference
from tests.helpers.cli import error_of, final_state, lit_rl, start, wait_for
from tests.runs.conftest import Cli
from tests.sweep.conftest import write_sweep


def shown(cwd: Path, sweep: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lit_rl("sweep", sweep, "--show", "--json", cwd=cwd).stdout)
    return found


def outcome(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(t["number"], t["state"], t["value"], t["settings"], t["reason"]) for t in found["trials"]]


def same(a: Path, b: Path) -> bool:
    ours, theirs = final_state(a), final_state(b)
    return all(first_difference(ours[name], theirs[name], name) is None for name in ours)


def test_a_sweep_and_what_is_made_of_it(tmp_path: Path) -> None:
    """The second choice does not go with the environment: that trial fails, and the study goes on."""
    grid = {"model.use_sde": {"choice": [False, True]}, "model.n_epochs": {"choice": [1]}}
    sweep = write_sweep(tmp_path, {"sampler": "grid", "search": grid})
    done = lit_rl("sweep", sweep, "--write-best", "best.yaml", cwd=tmp_path)
    found = shown(tmp_path, sweep)
    first, second = found["trials"]
    assert (first["number"], first["state"], found["best"]) == (0, "finished", 0)
    assert second["state"] == "failed"
    assert "use_sde" in second["reason"]
    assert f"trial 1 failed: {second['reason']}" in done.stdout
    run = tmp_path / first["runs"][0]
    assert run == tmp_path / "lightning_logs" / "tuned" / "trial_000" / "version_0"
    assert first["value"] == read_columns(run, [RETURN])[RETURN][-1]
    lit_rl("fit", "--config", "best.yaml", cwd=tmp_path)
    assert same(run, tmp_path / "lightning_logs" / "run" / "version_0")
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["model"]["init_args"]["n_epochs"] == 1
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    text = lit_rl("sweep", "lightning_logs/tuned", "--show", cwd=tmp_path).stdout
    assert "2 of 2 trials: 1 finished, 1 failed" in text
    assert "trial  state" in text
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    write_sweep(tmp_path, {"sampler": "grid", "search": grid, "value": "best"})
    assert "value: the study lightning_logs/tuned has begun with another" in error_of("sweep", sweep, cwd=tmp_path)
    write_sweep(tmp_path, {"sampler": "grid", "search": grid}, total_timesteps=1024)
    assert "run: run.yaml is not what the study has begun with" in error_of("sweep", sweep, cwd=tmp_path)


def test_one_process_at_a_time(cli: Cli) -> None:
    from lit_rl.run.directory import RunLock

    sweep = write_sweep(cli.cwd)
    (cli.cwd / "lightning_logs" / "tuned").mkdir(parents=True)
    lock = RunLock(cli.cwd / "lightning_logs" / "tuned")
    assert "another process works on lightning_logs/tuned" in cli.error("sweep", sweep, expect=75)
    lock.release()


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "pruner"), [("random", "none"), ("tpe", "median")])
def test_a_study_that_is_stopped_is_the_one_that_is_not(tmp_path: Path, sampler: str, pruner: str) -> None:
    over = {"sampler": sampler, "pruner": pruner, "trials": 12 if pruner == "median" else 4}
    run = {"total_timesteps": 4096}
    sweep = write_sweep(tmp_path, over, **run)
    straight = write_sweep(tmp_path, over | {"study": "lightning_logs/straight"}, "straight.yaml", **run)
    for trial, number in ((0, signal.SIGINT), (1, signal.SIGKILL), (2, signal.SIGTERM), (3, signal.SIGKILL)):
        process = start("sweep", sweep, cwd=tmp_path)
        last = tmp_path / "lightning_logs" / "tuned" / f"trial_{trial:03}" / "version_0" / "checkpoints" / "last"
        wait_for(last.exists)
        process.send_signal(number)
        code = process.wait(60)
        assert code == (75 if number != signal.SIGKILL else -9)
    lit_rl("sweep", sweep, cwd=tmp_path)
    lit_rl("sweep", straight, cwd=tmp_path)
    ours, theirs = shown(tmp_path, sweep), shown(tmp_path, straight)
    assert outcome(ours) == outcome(theirs)
    for a, b in zip(ours["trials"], theirs["trials"], strict=True):
        if a["state"] == "finished":
            assert same(tmp_path / a["runs"][0], tmp_path / b["runs"][0])


@pytest.mark.slow
def test_several_seeds_count_by_their_mean(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path, {"seeds": [1, 2], "trials": 1})
    (trial,) = (lit_rl("sweep", sweep, cwd=tmp_path), shown(tmp_path, sweep))[1]["trials"]
    last = [read_columns(tmp_path / run, [RETURN])[RETURN][-1] for run in trial["runs"]]
    assert len(set(last)) == 2
    assert trial["value"] == sum(last) / 2


@pytest.mark.slow
def test_a_pruner_ends_hopeless_trials_and_changes_nothing_of_the_others(tmp_path: Path) -> None:
    rates = {"model.learning_rate": {"choice": [0.01, 0.008, 0.012, 0.006, 0.015, 1e-9, 2e-9, 3e-9]}}
    found = {}
    for pruner in ("none", "median", "hyperband"):
        over = {"pruner": pruner, "trials": 8, "study": f"lightning_logs/{pruner}", "sampler": "grid", "search": rates}
        sweep = write_sweep(tmp_path, over, total_timesteps=2048)
        lit_rl("sweep", sweep, cwd=tmp_path)
        found[pruner] = {trial["number"]: trial for trial in shown(tmp_path, sweep)["trials"]}
    assert all(trial["state"] == "finished" for trial in found["none"].values())
    for pruner in ("median", "hyperband"):
        assert any(trial["state"] == "pruned" for trial in found[pruner].values())
        for number, trial in found[pruner].items():
            assert trial["settings"] == found["none"][number]["settings"]
            assert trial["state"] == "pruned" or trial["value"] == found["none"][number]["value"]


DIES = """
import os, signal
from lightning.pytorch import Callback


class Dies(Callback):
    def __init__(self, after):
        self._after = after

    def on_train_start(self, trainer, module):
        self._start = module.counters.timesteps

    def on_train_batch_end(self, trainer, module, *batch):
        if module.counters.timesteps - self._start >= self._after:
            os.kill(os.getpid(), signal.SIGKILL)
"""
"""A process that has trained for so many timesteps is killed, as one that needs too much memory is."""


def write_dying(cwd: Path, after: int) -> Path:
    """A sweep of two trials of 512 timesteps, of which the first is killed; checkpoints are 128 apart."""
    (cwd / "dying.py").write_text(DIES)
    callbacks = [[{"class_path": "dying.Dies", "init_args": {"after": each}}] for each in (after, 9999)]
    search = {"trainer.callbacks": {"choice": callbacks}}
    run = {"env": {"n_envs": 1}, "checkpoint": {"background": False}}
    return write_sweep(cwd, {"sampler": "grid", "search": search}, **run)


@pytest.mark.slow
def test_a_trial_that_is_always_killed_fails_in_the_end(tmp_path: Path) -> None:
    sweep = write_dying(tmp_path, after=96)
    for _ in range(2):
        done = lit_rl("sweep", sweep, cwd=tmp_path, expect=137)
        assert "trial 0 ended with exit code 137" in done.stdout
        assert [trial["state"] for trial in shown(tmp_path, sweep)["trials"]] == ["in flight"]
    lit_rl("sweep", sweep, cwd=tmp_path)
    states = {trial["number"]: (trial["state"], trial["reason"]) for trial in shown(tmp_path, sweep)["trials"]}
    assert states[0][0] == "failed"
    assert states[0][1].startswith("killed 3 times without a new checkpoint; see lightning_logs/tuned/trial_000.log")
    assert states[1] == ("finished", None)


@pytest.mark.slow
def test_a_trial_that_gets_on_between_kills_is_not_given_up(tmp_path: Path) -> None:
    sweep = write_dying(tmp_path, after=160)
    for _ in range(3):
        lit_rl("sweep", sweep, cwd=tmp_path, expect=137)
    lit_rl("sweep", sweep, cwd=tmp_path)
    trials = {trial["number"]: trial for trial in shown(tmp_path, sweep)["trials"]}
    assert [trials[number]["state"] for number in (0, 1)] == ["finished", "finished"]
    assert trials[0]["value"] == trials[1]["value"], "kills have changed nothing of it"


@pytest.mark.slow
def test_a_metric_of_evaluations_is_minimized_by_its_best_in_runs_that_end_early(tmp_path: Path) -> None:
    early = {"monitor": "eval/mean_reward", "mode": "max", "min_delta": 1000.0, "patience": 2}
    run = {
        "eval": {"every": 128, "episodes": 2},
        "trainer": {"callbacks": [{"class_path": "EarlyStopping", "init_args": early}]},
    }
    over = {
        "metric": "eval/mean_reward",
        "direction": "minimize",
        "value": "best",
        "sampler": "grid",
        "search": {"model.learning_rate": {"choice": [0.001, 0.1]}},
    }
    sweep = write_sweep(tmp_path, over, **run)
    lit_rl("sweep", sweep, cwd=tmp_path)
    found = shown(tmp_path, sweep)
    values = {}
    for trial in found["trials"]:
        means = read_evaluations(tmp_path / trial["runs"][0]).means
        assert trial["state"] == "finished"
        assert len(means) == 3, "EarlyStopping has ended it"
        assert len(set(means)) > 1
        assert trial["value"] == min(means)
        values[trial["number"]] = trial["value"]
    assert found["best"] == min(values, key=lambda number: values[number])
    assert found["trials"][0]["number"] == found["best"]
