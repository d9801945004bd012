"""What a run's YAML may hold: its keys, and the records behind them."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from lit_rl.callbacks.config import CheckpointConfig, View
from lit_rl.cli.models import ModelSettings
from lit_rl.curriculum import CurriculumConfig
from lit_rl.envs.config import EnvConfig
from lit_rl.ops.limits import SEEDS, Limit, at_least, union_members
from lit_rl.ranks.config import RanksConfig
from lit_rl.run.config import Mode, ResumeConfig, WarmstartConfig
from lit_rl.training.config import EvalConfig

Path_ = tuple[str, ...]

BLOCKS = {
    "resume": ResumeConfig,
    "warmstart": WarmstartConfig,
    "env": EnvConfig,
    "curriculum": CurriculumConfig,
    "eval": EvalConfig,
    "checkpoint": CheckpointConfig,
    "ranks": RanksConfig,
}
"""Top-level keys that hold a record."""

SCALARS: dict[str, Any] = {
    "mode": Mode,
    "name": str,
    "total_timesteps": int,
    "seed_everything": int,
    "pause_at": int | None,
    "requeue": bool,
    "view": View,
    "ckpt_path": str | None,
}
"""Top-level keys that hold a value, and its type."""

LIMITS: dict[str, Limit] = {
    "total_timesteps": at_least(1),
    "seed_everything": SEEDS,
    "pause_at": at_least(1),
    "episodes": at_least(1),
}

CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
"""What names a class with its arguments: the model, and what the Trainer is given."""


def free_dictionaries(model: ModelSettings | None) -> Iterator[Path_]:
    """Where settings are dictionaries with keys of the user's own."""
    for key, record in BLOCKS.items():
        yield from (((key, *path)) for path in _free(record))
    for name, hint in ({} if model is None else model.parameters).items():
        if _is_free(hint):
            yield "model", "init_args", name


def _free(record: Any) -> Iterator[Path_]:
    for name, hint in typing.get_type_hints(record).items():
        if dataclasses.is_dataclass(hint):
            yield from ((name, *path) for path in _free(hint))
        elif _is_free(hint):
            yield (name,)


def _is_free(hint: Any) -> bool:
    return any((typing.get_origin(option) or option) is dict for option in union_members(hint))
