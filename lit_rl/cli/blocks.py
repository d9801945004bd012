"""What a run's YAML may hold: its keys, the records behind them, and the settings of the model it names."""

from __future__ import annotations

import inspect
import typing
from typing import Any

from lightning.pytorch import Trainer

from lit_rl.algorithms import algorithms, is_algorithm
from lit_rl.callbacks.config import CheckpointConfig
from lit_rl.curriculum import CurriculumConfig
from lit_rl.envs.build import import_class
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.ops.limits import SEEDS, Limit, at_least
from lit_rl.ranks.config import RanksConfig
from lit_rl.run.config import Mode, ResumeConfig, WarmstartConfig
from lit_rl.training.config import LINKED, EvalConfig
from lit_rl.training.module import RLModule

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


def model_class(path: str) -> type[RLModule]:
    """The algorithm a `class_path` names, by short name or import path.

    Raises:
        ConfigError: there is none.
    """
    known = algorithms() | {cls.__name__: cls for cls in _subclasses(RLModule) if is_algorithm(cls)}
    if path in known:
        found: type[RLModule] = known[path]
        return found
    if "." not in path and ":" not in path:
        raise ConfigError(
            f"model.class_path: there is no algorithm '{path}'; there are {', '.join(sorted(algorithms()))}."
            f"{did_you_mean(path, known)}"
        )
    found = import_class(path, "model.class_path")
    if not (isinstance(found, type) and issubclass(found, RLModule)):
        raise ConfigError(f"model.class_path: {path} is not an RLModule.")
    if not is_algorithm(found):
        raise ConfigError(f"model.class_path: {path} does not define all of build_policy, collect, update and predict.")
    return found


def _subclasses(cls: Any) -> list[Any]:
    return [sub for direct in cls.__subclasses__() for sub in (direct, *_subclasses(direct))]


def model_parameters(model: type) -> dict[str, Any]:
    """The settings of an algorithm below `model`, with their types; `Any` where a type cannot be read."""
    try:
        hints = typing.get_type_hints(model.__init__)  # type: ignore[misc]
    except NameError:  # a name that only a type checker imports
        hints = {}
    names = [name for name in inspect.signature(model).parameters if name not in LINKED]
    return {name: hints.get(name, Any) for name in names}


def trainer_arguments() -> dict[str, Any]:
    """The arguments of Lightning's Trainer, with their types."""
    hints = typing.get_type_hints(Trainer.__init__)
    return {name: hints[name] for name in inspect.signature(Trainer.__init__).parameters if name != "self"}
