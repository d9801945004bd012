"""What `test` and `validate` have written beside the checkpoints of a run, read without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_rl.checkpoint.manifest import CHECKPOINTS

_METRICS = ("mean_reward", "std_reward", "min_reward", "max_reward", "mean_ep_length")


@dataclass(frozen=True)
class Tested:
    """One evaluation of a checkpoint, or its part on one level.

    Args:
        checkpoint: its name, and `timesteps` how far it was trained.
        created: UTC time.
        episodes: how many were asked for; `None` of a part.
        deterministic: whether the most likely actions were taken.
        level: of the curriculum: `current`, `last` or `all`, or the name of the one that a part is of.
        metrics: mean, deviation, least and greatest return, and mean length.
        success: share of successes.
    """

    checkpoint: str
    timesteps: int
    created: str
    episodes: int | None
    deterministic: bool
    level: str | None
    metrics: tuple[float, ...]
    success: float | None


def read_tested(directory: Path, problems: list[str]) -> list[Tested]:
    """Every evaluation in a run directory, by timesteps; adds to `problems` which file is damaged."""
    found = []
    for file in sorted((directory / CHECKPOINTS).glob("*.test.json")):
        try:
            content = json.loads(file.read_text())
            found += [each for result in content["results"] for each in _of(content, result)]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            problems.append(f"{file} is damaged; test writes it anew.")
    return sorted(found, key=lambda each: each.timesteps)


def _of(content: dict[str, Any], result: dict[str, Any]) -> list[Tested]:
    levels = result.get("levels") or {}
    level = None if result["level"] is None else str(result["level"])
    whole = [_tested(content, result, result, int(result["episodes"]), level)]
    parts = [_tested(content, result, part, None, str(name)) for name, part in levels.items()]
    return whole + (parts if len(parts) > 1 else [])


def _tested(
    content: dict[str, Any], result: dict[str, Any], metrics: dict[str, Any], episodes: int | None, level: str | None
) -> Tested:
    success = metrics.get("success_rate")
    return Tested(
        str(content["checkpoint"]),
        int(content["timesteps"]),
        str(result["created"]),
        episodes,
        bool(result["deterministic"]),
        level,
        tuple(float(metrics[name]) for name in _METRICS),
        None if success is None else float(success),
    )
