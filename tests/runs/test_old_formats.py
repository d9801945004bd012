"""Checkpoints of earlier formats, kept as they were written: each is still opened, verified and gone on with.

`tests/data/format_N/` holds a run directory, the configuration it was trained with, and the sha256 of every part of its
state as the version that wrote it saw them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lit_rl.checkpoint.manifest import FORMAT
from lit_rl.checkpoint.reader import verify
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.state.plain import digest
from tests.helpers.cli import ROOT, checkpoints, lineage, metrics, parts
from tests.runs.conftest import Cli

GOLDEN = sorted((ROOT / "tests" / "data").glob("format_*"))


def test_every_format_has_one() -> None:
    assert [path.name for path in GOLDEN] == [f"format_{number}" for number in range(1, FORMAT + 1)]


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
def test_its_state_is_read_as_it_was_written(golden: Path) -> None:
    (checkpoint,) = CheckpointStore(golden / "run" / "checkpoints").inventory().checkpoints
    assert f"format_{checkpoint.manifest.format}" == golden.name
    found = {name: digest(part) for name, part in parts(verify(checkpoint.path)).items()}
    assert found == json.loads((golden / "parts.json").read_text())


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
def test_its_run_goes_on_in_a_copy(cli: Cli, golden: Path) -> None:
    """The run directory came from another place, and has no links, lock or TensorBoard files."""
    run = cli.run(golden.name)
    shutil.copytree(golden / "run", run)
    before = metrics(run)
    cli("verify-checkpoint", run)
    config = golden / "run.yaml"
    done = cli("fit", "--config", config, "--mode", "resume")
    assert "checkpoint: t0000000128-s001" in done.out
    assert "could not be brought back" not in done.out
    assert "changed settings" not in done.out
    assert metrics(run)[: len(before)] == before
    assert [int(row["step"]) for row in metrics(run)] == [64, 128, 192, 256]
    assert checkpoints(run)[-1].manifest.timesteps == 256
    assert [segment["cause"] for segment in lineage(run)["segments"]] == ["pause_at", "finished"]
    again = cli.run("again")
    shutil.copytree(golden / "run", again)
    cli("fit", "--config", config, "--name", "again", "--mode", "resume", "--ckpt_path", again)
    for name, part in parts(checkpoints(run)[-1]).items():
        assert digest(part) == digest(parts(checkpoints(again)[-1])[name]), name
