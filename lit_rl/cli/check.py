"""Look at the configuration before the parser does: every key known, none twice, each mistake named with its fix.

The parser below finds wrong values; it takes a misspelled block for somebody else's and lets the last of two equal
keys win, both in silence.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer

from lit_rl.algorithms import algorithms, is_algorithm
from lit_rl.callbacks.checkpointing import CheckpointConfig
from lit_rl.curriculum import CurriculumConfig
from lit_rl.envs.build import import_class
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.ops.schedules import Schedule
from lit_rl.run.config import ResumeConfig, WarmstartConfig
from lit_rl.training.evaluation import EvalConfig
from lit_rl.training.module import RLModule

LINKED = {
    "env": "env",
    "seed": "seed_everything",
    "total_timesteps": "total_timesteps",
    "curriculum": "curriculum",
    "evaluation": "eval",
}
"""Arguments of a model, and the top-level keys they are."""

BLOCKS = {
    "resume": ResumeConfig,
    "warmstart": WarmstartConfig,
    "env": EnvConfig,
    "curriculum": CurriculumConfig,
    "eval": EvalConfig,
    "checkpoint": CheckpointConfig,
}
"""Top-level keys that hold a record."""

_SCALARS = ("mode", "name", "total_timesteps", "seed_everything", "pause_at", "requeue", "ckpt_path")


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping."""


def _mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if key in seen:
            raise ConfigError(f"key '{key}' stands twice, in lines {seen[key]} and {line}; keep one.")
        seen[key] = line
    loader.flatten_mapping(node)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """A configuration file as nested dictionaries.

    Raises:
        ConfigError: it is not there, is not YAML, or has a key twice.
    """
    try:
        content = yaml.load(path.read_text(), _Loader)
    except FileNotFoundError:
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else [])
        raise ConfigError(f"--config: '{path}' is not there.{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config: cannot read '{path}': {error}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path} is not valid YAML{where}: {problem}.") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold keys and values, such as `env: {{id: CartPole-v1}}`.")
    return content


def check_keys(config: dict[str, Any], where: str) -> None:
    """Check every key of a configuration, at any depth.

    Raises:
        ConfigError: names the first unknown key and the nearest known one.
    """
    _known(config, [*_SCALARS, *BLOCKS, "model", "trainer"], "", where)
    for key, record in BLOCKS.items():
        if isinstance(config.get(key), dict):
            _check_record(config[key], record, key, where)
    if isinstance(config.get("trainer"), dict):
        _known(config["trainer"], _trainer_arguments(), "trainer", where)
    model = config.get("model")
    if isinstance(model, dict):
        _known(model, ["class_path", "init_args", "dict_kwargs"], "model", where)
        arguments = model.get("init_args")
        if isinstance(arguments, dict) and "class_path" in model:
            _check_model(arguments, model_class(str(model["class_path"])), "model.init_args", where)


def check_options(options: list[str], model: str | None, more: tuple[str, ...] = ()) -> None:
    """Check the names of the command line's own options (`--env.n_envs`, `--model.n_steps=128`).

    Args:
        options: the arguments after the command.
        model: the algorithm that the files or the options name.
        more: options of this command alone.

    Raises:
        ConfigError: names the first unknown one and the nearest known one.
    """
    tops = [
        *_SCALARS,
        *BLOCKS,
        "model",
        "trainer",
        "config",
        "print_config",
        "help",
        *more,
    ]
    for option in options:
        if not option.startswith("--"):
            continue
        name = option[2:].partition("=")[0].rstrip("+")
        head, *rest = name.split(".")
        if head not in tops:
            raise ConfigError(f"--{name}: there is no such option.{did_you_mean(head, tops)}")
        if not rest:
            continue
        if head in BLOCKS:
            _check_record(_nest(rest), BLOCKS[head], head, "--")
        elif head == "trainer":
            _known(_nest(rest), _trainer_arguments(), "trainer", "--")
        elif head == "model" and model is not None and rest[0] not in ("class_path", "dict_kwargs"):
            arguments = rest[1:] if rest[0] == "init_args" else rest
            _check_model(_nest(arguments) if arguments else {}, model_class(model), "model", "--")


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


def _trainer_arguments() -> list[str]:
    return [name for name in inspect.signature(Trainer.__init__).parameters if name != "self"]


def _check_model(arguments: dict[str, Any], cls: type, path: str, where: str) -> None:
    parameters = inspect.signature(cls).parameters
    known = [name for name in parameters if name not in LINKED]
    for key, top in LINKED.items():
        if key in arguments:
            raise ConfigError(f"{where}: {path}.{key} is a top-level key here: write `{top}:` outside model.")
    _known(arguments, known, path, where)
    for key, value in arguments.items():
        if isinstance(value, dict) and "Schedule" in str(parameters[key].annotation):
            _check_record(value, Schedule, f"{path}.{key}", where)


def _check_record(values: dict[str, Any], record: Any, path: str, where: str) -> None:
    fields = {field.name: field for field in dataclasses.fields(record)}
    _known(values, list(fields), path, where)
    hints = typing.get_type_hints(record)
    for key, value in values.items():
        hint = hints[key]
        if dataclasses.is_dataclass(hint) and isinstance(value, dict):
            _check_record(value, hint, f"{path}.{key}", where)
        inner = typing.get_args(hint)
        if typing.get_origin(hint) is list and inner and dataclasses.is_dataclass(inner[0]) and isinstance(value, list):
            for i, item in enumerate(value):
                if isinstance(item, dict):
                    _check_record(item, inner[0], f"{path}.{key}[{i}]", where)


def _known(values: dict[str, Any], known: list[str], path: str, where: str) -> None:
    for key in values:
        if key not in known:
            name = f"{path}.{key}" if path else str(key)
            if where == "--":
                raise ConfigError(f"--{name}: there is no such option.{did_you_mean(str(key), known)}")
            raise ConfigError(f"{where}: unknown key '{name}'.{did_you_mean(str(key), known)}")


def _nest(names: list[str]) -> dict[str, Any]:
    head, *rest = names
    return {head: _nest(rest) if rest else None}
