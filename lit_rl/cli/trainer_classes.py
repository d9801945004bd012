"""Classes that options of the Trainer name: each known, with arguments that it takes, and made."""

from __future__ import annotations

import inspect
import os
import re
import typing
from enum import Enum
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch import Callback
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch import loggers as lightning_loggers
from lightning.pytorch import profilers as lightning_profilers
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import CheckpointIO, LayerSync, Precision
from lightning.pytorch.profilers import Profiler

from lit_rl.cli.blocks import CLASS_KEYS
from lit_rl.cli.trainer_block import PLAIN, check_path, union_of
from lit_rl.envs.build import import_class
from lit_rl.errors import ConfigError, LitRLError, did_you_mean, raised
from lit_rl.ops.limits import Limit, check_value, hints_of, refuse_unknown, shown, union_members
from lit_rl.training.trainer import check_callback

_PROFILERS = ("simple", "advanced", "pytorch", "xla")
_PATHS = (Path, os.PathLike)


class Kind(typing.NamedTuple):
    """What is made from a class that an option names: what it must be below, and where Lightning's own are."""

    bases: tuple[type, ...]
    called: str
    own: Any


KINDS = {
    "callbacks": Kind((Callback,), "a Lightning Callback", lightning_callbacks),
    "logger": Kind((Logger,), "a Lightning Logger", lightning_loggers),
    "profiler": Kind((Profiler,), "a Lightning Profiler", lightning_profilers),
    "plugins": Kind((Precision, ClusterEnvironment, CheckpointIO, LayerSync), "a Lightning plugin", None),
}
"""Options that take classes."""


def checked_classes(value: Any, key: str) -> Any:
    """What an option of the Trainer comes to that takes classes: each known, and its arguments too.

    Args:
        value: a class's name, `class_path` and `init_args`, or a list of them.
        key: the option.

    Raises:
        ConfigError: names the class or the argument, what is wrong and the fix.
    """
    if isinstance(value, list) and key != "profiler":
        return [
            _checked(each, key, f"trainer.{key}[{i}]" if len(value) > 1 else f"trainer.{key}")
            for i, each in enumerate(value)
        ]
    return _checked(value, key, f"trainer.{key}")


def _checked(value: Any, key: str, name: str) -> Any:
    if value is None or (key == "logger" and isinstance(value, bool)):
        return value
    if key == "profiler" and isinstance(value, str) and "." not in value and not value.endswith("Profiler"):
        if value not in _PROFILERS:
            raise ConfigError(
                f"{name}: {shown(value)} is not one of {', '.join(_PROFILERS)}.{did_you_mean(value, _PROFILERS)}"
            )
        return value
    if not isinstance(value, str | dict):
        raise ConfigError(f"{name}: expected a class_path, or class_path and init_args, got {shown(value)}.")
    spec: dict[str, Any] = {"class_path": value} if isinstance(value, str) else dict(value)
    spec["init_args"] = spec.get("init_args") or {}
    cls = _check_class(spec, KINDS[key], name)
    defaults = {
        name: each.default.value for name, each in _parameters(cls)[0].items() if isinstance(each.default, Enum)
    }
    return {**spec, "init_args": {**defaults, **spec["init_args"]}}  # the parser knows no default that is an Enum


def _check_class(spec: dict[str, Any], kind: Kind, key: str) -> type:
    refuse_unknown(spec, CLASS_KEYS, key)
    if not isinstance(spec.get("class_path"), str):
        raise ConfigError(f"{key}.class_path is missing: name {kind.called}'s class.")
    cls = _find(spec["class_path"], kind, f"{key}.class_path")
    if Callback in kind.bases:
        check_callback(cls)
    given = spec["init_args"]
    check_value(given, dict, f"{key}.init_args")
    parameters, is_open = _parameters(cls)
    for name in given:
        if name not in parameters and not is_open:
            near = did_you_mean(name, parameters)
            known = [] if near else list(parameters)
            takes = f" {cls.__name__} takes {', '.join(known)}." if known else ""
            raise ConfigError(f"{key}.init_args: unknown key '{name}'.{near}{takes}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in given:
            raise ConfigError(f"{key}.init_args.{name} is missing; {cls.__name__} needs it.")
    hints = hints_of(cls.__init__)  # type: ignore[misc]
    for name, value in given.items():
        if name.endswith(("dir", "path", "name", "version")):
            check_path(value, f"{key}.init_args.{name}")
        members = [each for each in union_members(hints.get(name, typing.Any)) if each not in _PATHS]
        if all((typing.get_origin(each) or each) in (*PLAIN, list) for each in members):
            check_value(value, union_of(list(members)), f"{key}.init_args.{name}", Limit(infinite=True))
    return cls


def _find(path: str, kind: Kind, key: str) -> type:
    """The class at an import path, or Lightning's own of that name."""
    if "." in path or ":" in path:
        found: Any = import_class(path, key)
    else:
        own = _subclasses(kind.bases)
        found = own.get(path) or getattr(kind.own, path, None)
        if found is None:
            near = did_you_mean(path, own)
            raise ConfigError(f"{key}: there is no '{path}'; give an import path, such as my_module.{path}.{near}")
    if not (isinstance(found, type) and issubclass(found, kind.bases)):
        raise ConfigError(f"{key}: {path} is not {kind.called}.")
    return found


def _subclasses(bases: tuple[type, ...]) -> dict[str, type]:
    found: dict[str, type] = {}
    for base in bases:
        below: list[type] = base.__subclasses__()
        for each in below:
            if not each.__module__.startswith("lit_rl"):
                found |= {each.__name__: each, **_subclasses((each,))}
    return found


def _parameters(cls: type) -> tuple[dict[str, inspect.Parameter], bool]:
    """The keyword arguments of a class, and whether it takes others too."""
    found = list(inspect.signature(cls).parameters.values())
    named = {each.name: each for each in found if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)}
    return named, any(each.kind is each.VAR_KEYWORD for each in found)


def make(cls: type, *args: Any, **kwargs: Any) -> Any:
    """Make what an option of the Trainer names.

    Raises:
        ConfigError: its package is missing, or its constructor raises.
    """
    key = next(key for key, kind in KINDS.items() if issubclass(cls, kind.bases))
    try:
        return cls(*args, **kwargs)
    except LitRLError:
        raise
    except ModuleNotFoundError as error:
        package = error.name or next(iter(re.findall(r"'([A-Za-z][\w.-]*)", str(error))), "")
        install = f" Install it with `pip install {package}`." if package else f" It says: {raised(error)}."
        raise ConfigError(f"trainer.{key}: {cls.__name__} needs a package that is not installed.{install}") from None
    except Exception as error:
        raise ConfigError(f"trainer.{key}: {cls.__name__} raised {raised(error)}.") from None


INSTANTIATORS = [(make, base, True) for kind in KINDS.values() for base in kind.bases]


def blame(error: Exception, given: Namespace) -> ConfigError:
    """An error of the Trainer's constructor, with the option that it names, if it names one."""
    text = " ".join(str(error).split())
    if "backend found" in text:  # asked for `gpu`
        return ConfigError("trainer.accelerator: torch finds no GPU here; set trainer.accelerator: auto, or cpu.")
    gpus = re.search(r"requested gpu: (\[.*?\]).* has: (\[.*?\])", text)
    if gpus is not None:
        there = "none" if gpus[2] == "[]" else gpus[2]
        return ConfigError(f"trainer.devices: asks for the GPUs {gpus[1]}; this machine has {there}.")
    words = re.findall(r"\w+", text.lower())
    named = [key for key in vars(given) if key in words or key.rstrip("s") in words]
    key = max(named, key=lambda name: f"{name}=" in text, default=None)
    return ConfigError(f"trainer{'' if key is None else f'.{key}'}: {text or type(error).__name__}")
