"""Loggers of the user's whose service knows a run by an id: a run that goes on keeps it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger, WandbLogger
from lightning.pytorch.loggers.logger import Logger

from lit_rl.checkpoint.files import replace_durably
from lit_rl.errors import DataError

LOGGERS = "loggers.json"
"""In a run directory: the ids that services have given this run, by the logger's class, in the order of the loggers."""


def keep_ids(loggers: Sequence[Logger], directory: Path, run_id: str) -> None:
    """Give each logger the id of the run that goes on, unless the user names one.

    Weights & Biases takes the run's own. MLflow makes one, which `write_ids` writes down.

    Args:
        loggers: of the Trainer, before anything has been logged.
        directory: of the run.
        run_id: of the run, the same in all of its segments.

    Raises:
        DataError: what was written down cannot be read.
    """
    known = _read(directory)
    for each in loggers:
        plain: Any = each
        if isinstance(each, WandbLogger) and plain._id is None and plain._experiment is None:
            plain._id = plain._wandb_init["id"] = run_id
    ids = known.get(MLFlowLogger.__name__, [])
    for plain, own in zip(_mlflow(loggers), ids, strict=False):
        if plain._run_id is None:
            plain._run_id = own


def write_ids(loggers: Sequence[Logger], directory: Path) -> None:
    """Write down the ids that services have given; the first rank does so."""
    ids = [each.run_id for each in _mlflow(loggers)]
    if ids and _read(directory).get(MLFlowLogger.__name__) != ids:
        replace_durably(directory / LOGGERS, json.dumps({MLFlowLogger.__name__: ids}).encode())


def _mlflow(loggers: Sequence[Logger]) -> list[Any]:
    return [each for each in loggers if isinstance(each, MLFlowLogger)]


def _read(directory: Path) -> dict[str, list[str]]:
    path = directory / LOGGERS
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text())
        return {str(name): [str(each) for each in ids] for name, ids in found.items()}
    except (ValueError, AttributeError, TypeError):
        raise DataError(f"{path} cannot be read; move it away, and loggers begin runs of their own.") from None
