"""The results of `test` and `validate`, beside the checkpoint that was evaluated."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lit_rl.checkpoint.files import replace_durably
from lit_rl.training.evaluation import Evaluation
from lit_rl.training.module import RLModule

_SETTINGS = ("episodes", "deterministic", "level", "seed")
"""Equal ones give an equal result, which takes the place of the one before."""


def result_file(checkpoint: Path) -> Path:
    """Where the results of a checkpoint lie: `t0000000512-s001.test.json` beside that directory, `x.test.json` beside
    `x.ckpt` or `x.zip`.
    """
    name = checkpoint.stem if checkpoint.suffix in (".ckpt", ".zip") else checkpoint.name
    return checkpoint.with_name(f"{name}.test.json")


def result_of(module: RLModule, evaluation: Evaluation) -> dict[str, Any]:
    """One evaluation as plain values: its settings, metrics over all episodes and level by level, and every episode."""
    config = module.eval_config
    result: dict[str, Any] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "episodes": module.evaluation_episodes,
        "deterministic": config.deterministic,
        "level": config.level if module.levels else None,
        "seed": module.seed,
        **evaluation.metrics(),
        "returns": [episode.ret for episode in evaluation.episodes],
        "lengths": [episode.length for episode in evaluation.episodes],
    }
    if module.levels:
        played = sorted({episode.level for episode in evaluation.episodes})
        result["levels"] = {module.levels[i].name: evaluation.on_level(i).metrics() for i in played}
    return result


def write_result(checkpoint: Path, module: RLModule, evaluation: Evaluation) -> Path:
    """Add an evaluation to the file of its checkpoint, durably; returns the file.

    Raises:
        StorageError: the disk said no.
    """
    file, new = result_file(checkpoint), result_of(module, evaluation)
    settings = [new[key] for key in _SETTINGS]
    others = [each for each in _results_in(file) if [each.get(key) for key in _SETTINGS] != settings]
    content = {
        "checkpoint": checkpoint.name,
        "algorithm": type(module).__name__,
        "timesteps": module.counters.timesteps,
        "env": module.env_config.name,
        "results": [*others, new],
    }
    replace_durably(file, (json.dumps(content, indent=2) + "\n").encode())
    return file


def _results_in(file: Path) -> list[dict[str, Any]]:
    """Earlier results; none where the file is not there or is no such file any more."""
    try:
        results = json.loads(file.read_text())["results"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [each for each in results if isinstance(each, dict)] if isinstance(results, list) else []
