"""The command line in this process, and small sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.helpers.cli import write_config
from tests.runs.conftest import cli  # noqa: F401

SEARCH: dict[str, Any] = {
    "model.learning_rate": {"loguniform": [1e-4, 1e-2]},
    "model.n_epochs": {"int": [1, 5], "step": 2},
    "env.normalize.obs": {"choice": [True, False]},
    "model.policy_kwargs.net_arch": {"choice": [[8], [4, 4]]},
}


def write_sweep(cwd: Path, over: dict[str, Any] | None = None, name: str = "sweep.yaml", **run: Any) -> Path:
    """A sweep of two short runs, changed as asked, and its run.yaml."""
    write_config(cwd, run)
    plain = {"run": "run.yaml", "study": "lightning_logs/tuned", "trials": 2, "sampler": "random", "search": SEARCH}
    path = cwd / name
    path.write_text(yaml.safe_dump(plain | (over or {}), sort_keys=False))
    return path
