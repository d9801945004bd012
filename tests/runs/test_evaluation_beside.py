"""Evaluation beside training: what it plays, what it writes, what is kept, and that training does not notice."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from stable_baselines3.common.monitor import load_results

from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.state.plain import first_difference
from lit_rl.training.config import EvalConfig
from tests.helpers.cli import checkpoints, final_state, lineage, merged, metrics
from tests.runs.conftest import Cli

needs_pandas = pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="SB3's load_results needs pandas")

SMALL: dict[str, Any] = {
    "name": "run",
    "seed_everything": 1,
    "total_timesteps": 512,
    "env": {
        "class_path": "lit_rl.envs.examples.gates.Gates",
        "kwargs": {"level": 1, "max_steps": 40},
        "n_envs": 4,
        "backend": "sync",
        "normalize": {"obs": True, "reward": True},
    },
    "eval": {"every": 200, "episodes": 4},
    "model": {
        "class_path": "PPO",
        "init_args": {"n_steps": 32, "batch_size": 64, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}},
    },
}
"""Four iterations of 128 timesteps; evaluations at 256 and 512 (the boundaries past 200 and 400)."""


def write(cli: Cli, over: dict[str, Any] | None = None) -> Path:
    path = cli.cwd / "run.yaml"
    path.write_text(yaml.safe_dump(merged(SMALL, over or {})))
    return path


def evaluations(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / "evaluations.npz", allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def test_the_file_is_that_of_sb3(cli: Cli) -> None:
    cli("fit", "--config", write(cli))
    found = evaluations(cli.run())
    assert {key: value.shape for key, value in found.items()} == {
        "timesteps": (2,),
        "results": (2, 4),
        "ep_lengths": (2, 4),
        "successes": (2, 4),
    }
    assert found["timesteps"].tolist() == [256, 512]
    assert np.array_equal(found["successes"], found["results"] > 0)
    rows = [row for row in metrics(cli.run()) if row["eval/mean_reward"]]
    assert [int(row["step"]) for row in rows] == [256, 512]
    for i, row in enumerate(rows):
        assert float(row["eval/mean_reward"]) == found["results"][i].mean()
        assert float(row["eval/mean_ep_length"]) == found["ep_lengths"][i].mean()
        assert float(row["eval/success_rate"]) == found["successes"][i].mean()


@pytest.mark.parametrize(
    "options",
    [
        {"every": 128},
        {"episodes": 9},
        {"envs": 3},
        {"deterministic": False},
    ],
)
def test_options_change_the_evaluation_and_nothing_that_is_learned(cli: Cli, options: dict[str, Any]) -> None:
    base = {"every": 200, "episodes": 4}
    cli("fit", "--config", cli.config({"eval": base}), "--name", "base")
    cli("fit", "--config", cli.config({"eval": {**base, **options}}))
    a, b = evaluations(cli.run("base")), evaluations(cli.run())
    assert any(not np.array_equal(a[key], b[key]) for key in a)
    ours, theirs = final_state(cli.run("base")), final_state(cli.run())
    for name in ours.keys() - {"evaluation", "best"}:
        assert first_difference(ours[name], theirs[name], name) is None


@pytest.mark.parametrize("native", [False, True])
def test_on_or_off_the_trained_weights_are_equal_to_the_bit(cli: Cli, native: bool) -> None:
    beside = {"eval": {"every": 128, "episodes": 4, "deterministic": False, "envs": 2}}
    on = cli.config({"env": {"backend": "native"}, **beside}) if native else write(cli, beside)
    cli("fit", "--config", on, "--name", "on")
    cli("fit", "--config", on, "--eval.every", "null", "--name", "off")
    assert not (cli.run("off") / "evaluations.npz").exists()
    ours, theirs = final_state(cli.run("on")), final_state(cli.run("off"))
    for name in ours.keys() - {"evaluation", "best"}:
        assert first_difference(ours[name], theirs[name], name) is None


def test_an_evaluation_depends_on_the_timestep_and_not_on_those_before(cli: Cli) -> None:
    often, seldom = cli.config({"eval": {"every": 128, "episodes": 4}}), ("--eval.every", 512)
    cli("fit", "--config", often, "--name", "often")
    cli("fit", "--config", often, *seldom, "--name", "seldom")
    a, b = evaluations(cli.run("often")), evaluations(cli.run("seldom"))
    assert b["timesteps"].tolist() == [512]
    for key in ("results", "ep_lengths"):
        assert np.array_equal(a[key][-1], b[key][-1])
    assert not np.array_equal(a["ep_lengths"][0], a["ep_lengths"][1])


@needs_pandas
@pytest.mark.parametrize("pause_at", [128, 256])
def test_a_resume_loses_and_repeats_nothing(cli: Cli, pause_at: int) -> None:
    config = write(cli)
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--pause_at", pause_at, expect=75)
    killed = cli.cwd / "killed"
    shutil.copytree(cli.run(), killed, symlinks=True)
    cli("fit", "--config", config, "--mode", "resume")
    for run in (cli.run(), killed):
        if run == killed:  # a run that was killed later: its files are longer than its last checkpoint knows
            for name in ("monitor.csv", "evaluations.npz", "metrics.csv"):
                shutil.copy(cli.run() / name, killed / name)
            cli("fit", "--config", config, "--mode", "resume", "--resume.checkpoint", killed)
        a, b = evaluations(cli.run("straight")), evaluations(run)
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[key], b[key]) for key in a)
        ours, theirs = load_results(str(cli.run("straight"))), load_results(str(run))
        assert ours.drop(columns="t").equals(theirs.drop(columns="t"))


def test_other_numbers_of_episodes_in_one_file(cli: Cli) -> None:
    config = write(cli)
    cli("fit", "--config", config, "--pause_at", 256, expect=75)
    cli("fit", "--config", config, "--mode", "resume", "--eval.episodes", 6)
    found = evaluations(cli.run())
    assert found["results"].shape == (2, 6)
    assert np.isnan(found["results"]).sum() == 2


# -- best, and stopping ----------------------------------------------------------------------------------------------


def test_best_goes_by_evaluations_and_is_saved_when_it_is_made(cli: Cli) -> None:
    config = write(cli, {"eval": {"every": 128, "deterministic": False}, "checkpoint": {"every_timesteps": None}})
    out = cli("fit", "--config", config).out
    means = evaluations(cli.run())["results"].mean(axis=1)
    best = CheckpointStore(cli.run() / "checkpoints").inventory().best()
    assert best is not None
    assert (best.manifest.timesteps, best.manifest.score) == (128 * (int(means.argmax()) + 1), means.max())
    assert (cli.run() / "checkpoints" / "best").resolve() == best.path.resolve()
    assert out.count("the best so far") == sum(means[i] > max(means[:i], default=-1) for i in range(4))
    assert {c.manifest.timesteps for c in checkpoints(cli.run())} >= {best.manifest.timesteps, 512}


def test_a_run_ends_at_stop_on_reward_and_a_resume_says_so(cli: Cli) -> None:
    config = write(cli, {"eval": {"every": 128}})
    cli("fit", "--config", config, "--name", "free")
    means = evaluations(cli.run("free"))["results"].mean(axis=1)
    first = float(means[0])
    stop = ("--eval.stop_on_reward", first)
    done = cli("fit", "--config", config, *stop)
    assert "finished by stop_on_reward: timestep 128 of 512" in done.out
    assert lineage(cli.run())["segments"][-1]["cause"] == "stop_on_reward"
    again = cli("fit", "--config", config, *stop, "--mode", "resume")
    assert "finished by stop_on_reward: timestep 128 of 512" in again.out
    assert "nothing to do" in again.out
    assert len(lineage(cli.run())["segments"]) == 1
    cli("fit", "--config", config, "--mode", "resume", "--eval.stop_on_reward", 99)
    assert first_difference(final_state(cli.run())["policy"], final_state(cli.run("free"))["policy"]) is None


def test_asking_for_more_goes_on_past_stop_on_reward(cli: Cli) -> None:
    config = write(cli, {"eval": {"every": 256, "stop_on_reward": -1}})
    cli("fit", "--config", config)
    done = cli("fit", "--config", config, "--mode", "resume", "--resume.additional_timesteps", 128)
    assert "timestep 384 of 384" in done.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "eval.every is 0"),
        ({"episodes": 0}, "eval.episodes is 0"),
        ({"envs": 0}, "eval.envs is 0"),
        ({"every": None, "stop_on_reward": 1.0}, "eval.stop_on_reward needs evaluations"),
        ({"level": "last"}, "eval.level: 'last' needs a curriculum"),
        ({"level": "lats"}, "eval.level: 'lats' is not one of current, last, all"),
        ({"evry": 3}, "unknown key 'eval.evry'. Did you mean 'every'?"),
    ],
)
def test_mistakes_name_the_key(cli: Cli, options: dict[str, Any], message: str) -> None:
    assert message in cli.error("fit", "--config", write(cli, {"eval": options}))


def test_due_is_a_function_of_timesteps() -> None:
    config = EvalConfig(every=100)
    steps = range(0, 1000, 64)
    due = [now for before, now in itertools.pairwise(steps) if config.due(before, now)]
    assert due == [128, 256, 320, 448, 512, 640, 704, 832, 960]
    assert not EvalConfig().due(0, 10**6)


# -- monitor.csv -----------------------------------------------------------------------------------------------------


@needs_pandas
def test_monitor_csv_is_read_by_sb3(cli: Cli) -> None:
    cli("fit", "--config", write(cli))
    frame = load_results(str(cli.run()))
    assert list(frame.columns) == ["index", "r", "l", "t", "level", "is_success"][-len(frame.columns) :]
    assert len(frame) == final_state(cli.run())["counters"]["episodes"]
    assert (frame["is_success"] == frame["r"]).all()
    assert frame["t"].is_monotonic_increasing
    assert frame["t"].is_unique
    assert frame["l"].sum() <= 512
    with open(cli.run() / "monitor.csv") as file:
        assert file.readline().startswith('#{"t_start": ')
        assert next(csv.reader(file)) == ["r", "l", "t", "level", "is_success"]


@needs_pandas
def test_monitor_csv_without_success_leaves_it_empty(cli: Cli) -> None:
    cli("fit", "--config", cli.config())
    frame = load_results(str(cli.run()))
    assert frame["is_success"].isna().all()
    assert (frame["level"] == 0).all()
