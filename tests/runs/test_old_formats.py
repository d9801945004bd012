"""Checkpoints of earlier formats, kept as they were written: each is still opened, verified and gone on with.

`tests/data/format_N/` and `format_N_KIND/` hold a run directory, the configuration it was trained with, and the sha256
of every part of its state as the version that wrote it saw them. All of format 1 were written before a class named the
parts of its state itself: with moments and evaluations, gSDE with schedules, the native backend, a curriculum in worker
processes, a Dict of observations with extractors of their own, and two ranks.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lit_rl.checkpoint.manifest import FORMAT
from lit_rl.checkpoint.reader import verify
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.state.plain import digest
from tests.helpers.cli import ROOT, checkpoints, lineage, metrics, parts
from tests.runs.conftest import Cli

GOLDEN = sorted((ROOT / "tests" / "data").glob("format_*"))


def test_every_format_has_one() -> None:
    assert {path.name.split("_")[1] for path in GOLDEN} == {str(number) for number in range(1, FORMAT + 1)}


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
def test_its_state_is_read_as_it_was_written(golden: Path) -> None:
    (checkpoint,) = CheckpointStore(golden / "run" / "checkpoints").inventory().checkpoints
    assert golden.name.startswith(f"format_{checkpoint.manifest.format}")
    found = {name: digest(part) for name, part in parts(verify(checkpoint.path)).items()}
    assert found == json.loads((golden / "parts.json").read_text())


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
def test_its_run_goes_on_in_a_copy(cli: Cli, golden: Path) -> None:
    """The run directory came from another place, and has no links, lock or TensorBoard files."""
    run = cli.run(golden.name)
    shutil.copytree(golden / "run", run)
    before = metrics(run)
    cli("verify-checkpoint", run)
    words = ("fit", "--config", golden / "run.yaml", "--mode", "resume", "--trainer.devices", 1)
    done = cli(*words)
    assert "checkpoint: t0000000128-s001" in done.out
    assert "could not be brought back" not in done.out
    assert "changed settings" not in done.out
    for old, row in zip(before, metrics(run), strict=False):
        assert {key: row[key] for key in old} == old, "a metric of later on is a new column"
    assert [int(row["step"]) for row in metrics(run)] == [64, 128, 192, 256]
    assert checkpoints(run)[-1].manifest.timesteps == 256
    assert [segment["cause"] for segment in lineage(run)["segments"]] == ["pause_at", "finished"]
    again = cli.run("again")
    shutil.copytree(golden / "run", again)
    cli(*words, "--name", "again", "--ckpt_path", again)
    for name, part in parts(checkpoints(run)[-1]).items():
        assert digest(part) == digest(parts(checkpoints(again)[-1])[name]), name


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
def test_a_new_run_starts_from_its_weights(cli: Cli, golden: Path) -> None:
    config = yaml.safe_load((golden / "run.yaml").read_text())
    load = [
        part for part in ("policy", "value", "obs_moments") if part != "obs_moments" or "normalize" in config["env"]
    ]
    warm = ("--mode", "warmstart", "--warmstart.checkpoint", golden / "run", "--warmstart.load", str(load))
    words = ("--name", "warm", "--model.learning_rate", 0, "--trainer.devices", 1, "--pause_at", 1)
    done = cli("fit", "--config", golden / "run.yaml", *warm, *words, expect=75)
    assert "policy: not loaded" not in done.out
    theirs, (_, ours) = parts(verify(next((golden / "run" / "checkpoints").iterdir()))), warmed(cli)
    assert digest(ours["policy"]) == digest(theirs["policy"])
    assert ours["counters"]["timesteps"] == 64


def warmed(cli: Cli) -> tuple[Path, dict[str, Any]]:
    run = cli.run("warm")
    return run, parts(checkpoints(run)[-1])
