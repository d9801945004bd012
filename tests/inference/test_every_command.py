"""Every command that looks at a run, on one of every algorithm: it works, and leaves everything as it was."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import lit_rl
from lit_rl.state.plain import digest
from tests.inference.conftest import ALGORITHMS
from tests.runs.conftest import Cli


def contents(run: Path) -> dict[str, str]:
    """What each file of a run holds, without the result that `test` writes beside a checkpoint."""
    files = [each for each in sorted(run.rglob("*")) if each.is_file() and not each.name.endswith(".test.json")]
    return {str(each.relative_to(run)): hashlib.sha256(each.read_bytes()).hexdigest() for each in files}


def streams() -> str:
    """The global random streams of this process."""
    numpy = repr(np.random.get_state())  # noqa: NPY002  the stream of others
    return digest({"python": repr(random.getstate()), "numpy": numpy, "torch": torch.get_rng_state()})


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_they_leave_run_and_streams_as_they_were(cli: Cli, trained: Callable[..., Path], name: str) -> None:
    run = trained(name)
    before, drawn = contents(run), streams()
    cli("show", run)
    shown = json.loads(cli("show", run, "--json").out)
    assert shown["algorithm"] == name
    (row,) = json.loads(cli("runs", "--root", run.parents[1], "--json").out)
    assert (row["algorithm"], row["state"], row["timesteps"]) == (name, "finished", 128)
    cli("report", run, "--out", "report.html")
    assert name in (cli.cwd / "report.html").read_text()
    cli("diff", run, run)
    cli("verify-checkpoint", run)
    cli("test", run, "--episodes", 1)
    cli("play", run, "--video", "out.mp4", "--episodes", 1)
    cli("export", run, "--format", "torchscript", "--out", "policy.pt")
    agent = lit_rl.load(run)
    space = agent.observation_space
    agent.predict(np.zeros(space.shape, space.dtype), deterministic=True)
    assert contents(run) == before
    assert streams() == drawn
    assert json.loads(cli("show", run, "--json").out)["parts"] == shown["parts"]
