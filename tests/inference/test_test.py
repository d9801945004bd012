"""`lit-rl test RUN`: the path alone is enough, the `eval` block holds, and the result lies beside the checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lit_rl.checkpoint.reader import verify
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.inference.results import result_file
from tests.helpers.cli import ROOT
from tests.inference.conftest import ALGORITHMS
from tests.runs.conftest import Cli

ZIP = next((ROOT / "tests" / "data").rglob("Pendulum-v1.zip"))


def copied(run: Path, cli: Cli) -> Path:
    return Path(shutil.copytree(run, cli.cwd / "copy", symlinks=True))


def results(place: Path) -> list[dict[str, Any]]:
    (file,) = place.rglob("*.test.json")
    found: list[dict[str, Any]] = json.loads(file.read_text())["results"]
    return found


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_run_alone_is_enough(cli: Cli, trained: Callable[..., Path], name: str) -> None:
    run = copied(trained(name), cli)
    done = cli("test", run, "--episodes", 2)
    checkpoint = CheckpointStore(run / "checkpoints").inventory().best()
    assert checkpoint is not None
    assert f"best checkpoint of {run}" in done.out
    assert "episodes: 2, deterministic" in done.out
    (result,) = results(run)
    assert len(result["returns"]) == 2
    assert np.isclose(result["mean_reward"], np.mean(result["returns"]))
    verify(checkpoint.path)
    drawn = cli("test", run, "--episodes", 2, "--eval.deterministic", "false", "--which", "last")
    assert "drawn actions" in drawn.out
    cli("test", run, "--episodes", 2)
    cli("verify-checkpoint", run)


def test_equal_settings_take_the_place_of_the_result_before(cli: Cli, trained: Callable[..., Path]) -> None:
    run = copied(trained("PPO"), cli)
    cli("test", run, "--episodes", 2)
    (first,) = results(run)
    cli("validate", run, "--episodes", 2)
    (again,) = results(run)
    assert first["returns"] == again["returns"]
    cli("test", run, "--episodes", 2, "--eval.deterministic", "false")
    assert [each["deterministic"] for each in results(run)] == [True, False]
    assert results(run)[1]["returns"] != first["returns"]


def test_a_configuration_and_a_path_alone_come_to_the_same(cli: Cli, trained: Callable[..., Path]) -> None:
    run = copied(trained("PPO"), cli)
    best = CheckpointStore(run / "checkpoints").inventory().best()
    assert best is not None
    cli("test", "--config", run / "config.yaml", "--ckpt_path", best.path, "--episodes", 2)
    (by_config,) = results(run)
    bare = cli.cwd / "elsewhere" / "policy.ckpt"
    bare.parent.mkdir()
    shutil.copy(best.lightning_file, bare)
    cli("test", bare, "--episodes", 2)
    assert result_file(bare).name == "policy.test.json"
    (by_itself,) = results(bare.parent)
    assert by_itself["returns"] == by_config["returns"]


def test_levels_are_played_as_the_evaluation_says(cli: Cli, trained: Callable[..., Path]) -> None:
    config = yaml.safe_load((ROOT / "tests" / "data" / "up_and_down.yaml").read_text())
    run = copied(trained("levels", {**config, "name": "run", "total_timesteps": 256}), cli)
    out = cli("test", run, "--episodes", 2).out
    assert [f"level: {name}" in out for name in ("near", "far", "end")] == [True] * 3
    (result,) = results(run)
    assert len(result["returns"]) == 6
    assert result["levels"].keys() == {"near", "far", "end"}
    assert not result["deterministic"]
    cli("test", run, "--episodes", 2, "--eval.level", "last")
    assert results(run)[-1]["levels"].keys() == {"end"}


def test_an_agent_of_stable_baselines3_needs_its_environment(cli: Cli) -> None:
    agent = Path(shutil.copytree(ZIP.parent, cli.cwd / "zoo")) / ZIP.name
    assert f"lit-rl import-sb3 {agent} --out run.yaml" in cli.error("test", agent)
    cli("import-sb3", agent, "--out", cli.cwd / "run.yaml")
    out = cli("test", agent, "--config", cli.cwd / "run.yaml", "--episodes", 2).out
    assert f"wrote {agent.with_name('Pendulum-v1.test.json')}" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nowhere",), "'nowhere' is not there"),
        (("{run}", "--which", "worst"), "which is 'worst', and not one of best, last"),
        (("{run}", "--ckpt_path", "{run}"), "both name a checkpoint"),
        (("{run}/checkpoints/last", "--which", "best"), "which is for a run directory"),
        (("{run}", "--episodes", "0"), "episodes is 0"),
        (("{run}", "--eval.level", "all"), "needs a curriculum"),
        (("run.yaml",), "a configuration is given as --config run.yaml"),
    ],
)
def test_mistakes_are_one_line(cli: Cli, trained: Callable[..., Path], words: tuple[str, ...], says: str) -> None:
    message = cli.error("test", *(word.format(run=trained("PPO")) for word in words))
    assert says in message
    assert "\n" not in message


def test_a_bare_checkpoint_that_names_an_environment_class_imports_nothing(
    cli: Cli, trained: Callable[..., Path]
) -> None:
    config = yaml.safe_load((ROOT / "tests" / "data" / "up_and_down.yaml").read_text())
    run = trained("levels", {**config, "name": "run", "total_timesteps": 256})
    bare = cli.cwd / "policy.ckpt"
    shutil.copy(run / "checkpoints" / "last" / "lightning.ckpt", bare)
    message = cli.error("test", bare)
    assert "names the environment class 'lit_rl.envs.examples.gates.Gates'; give the run's own YAML" in message
