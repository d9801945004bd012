"""Hyperparameters between Python, YAML and checkpoints: classes by name, records as dictionaries."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from jsonargparse import Namespace

from lit_rl.curriculum.config import CurriculumConfig
from lit_rl.curriculum.construct import class_paths
from lit_rl.curriculum.rules.build import parts_of_rule
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.masks import masks_for
from lit_rl.errors import ConfigError
from lit_rl.ops.limits import Limit, check_value, shown
from lit_rl.ops.schedules import Schedule, as_schedule
from lit_rl.training.config import EvalConfig, key_of
from lit_rl.training.contract import Algorithm

_PLAIN = (str, int, float, bool, type(None))
_DEEPEST = 50


def to_plain_settings(value: Any, key: str = "", depth: int = 0) -> Any:
    """Settings as plain values: dataclasses and the parser's groups as dictionaries, classes as dotted names, NumPy's
    numbers and arrays as numbers and lists.

    Args:
        value: a setting, or a dictionary of them.
        key: its full name; for a dictionary of all settings, nothing.
        depth: how deep it lies.

    Raises:
        ConfigError: there is something in it that no checkpoint can hold; names its key.
    """
    if depth > _DEEPEST:
        raise ConfigError(f"{key[:80]}...: lies more than {_DEEPEST} levels deep; a setting cannot hold itself.")
    if isinstance(value, Namespace):
        value = value.as_dict()
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if type(value) in _PLAIN:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {
            _plain_key(name, key): to_plain_settings(item, _within(key, name), depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [to_plain_settings(item, f"{key}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    raise ConfigError(
        f"{key}: {shown(value)} is a {type(value).__name__}, which no checkpoint can hold; give text, numbers, "
        "true or false, null, lists, or keys and values."
    )


def _within(key: str, name: Any) -> str:
    return f"{key}.{name}" if key else key_of(str(name))


def _plain_key(name: Any, key: str) -> Any:
    if isinstance(name, np.generic):
        name = name.item()
    if type(name) not in (str, int):
        raise ConfigError(
            f"{key}: key {shown(name)} is a {type(name).__name__}, which no checkpoint can hold; keys are text or "
            "whole numbers."
        )
    return name


def given_settings(module: Any) -> dict[str, Any]:
    """What the outermost constructor of an object was called with, from inside of it."""
    names = inspect.signature(type(module)).parameters
    frame, given = inspect.currentframe(), dict[str, Any]()
    while frame is not None:
        if frame.f_code.co_name == "__init__" and frame.f_locals.get("self") is module:
            given = {name: frame.f_locals[name] for name in names if name in frame.f_locals}
        frame = frame.f_back
    return given


def check_settings(algorithm: type, given: Mapping[str, Any], limits: Mapping[str, Limit]) -> None:
    """Check the settings of an algorithm by the annotations of its constructor and its `LIMITS`.

    Raises:
        ConfigError: names the first setting that is wrong, what is wrong and the fix.
    """
    to_plain_settings(dict(given))
    for name, hint in _hints(algorithm).items():
        value: Any = given.get(name)
        if name in given and name not in ("env", "curriculum", "evaluation") and not isinstance(value, type):
            options = typing.get_args(hint)
            if Schedule not in options:
                check_value(value, hint, key_of(name), limits.get(name))
            elif value is not None or type(None) not in options:
                as_schedule(value, key_of(name), limits.get(name))


def _hints(algorithm: type) -> dict[str, Any]:
    """Types of the constructors' arguments by name, the class's own before those of the classes below it."""
    found: dict[str, Any] = {}
    for cls in reversed(algorithm.__mro__):
        if "__init__" in vars(cls) and hasattr(cls, "LIMITS"):
            try:
                found |= typing.get_type_hints(vars(cls)["__init__"])
            except NameError:  # a name that only a type checker imports
                continue
    return found


def default_settings(algorithm: type) -> dict[str, Any]:
    """What settings are that nobody gives: those of an algorithm, its environments, its evaluation and its levels."""
    given = inspect.signature(algorithm).parameters.values()
    own = {each.name: to_plain_settings(each.default) for each in given if each.default is not each.empty}
    blocks = {"env": EnvConfig(), "evaluation": EvalConfig(), "curriculum": CurriculumConfig()}
    return {**own, **{name: to_plain_settings(block) for name, block in blocks.items()}}


_KNOWN = ("torch.nn.", "torch.optim.", "stable_baselines3.common.")
"""Where classes may come from that only a checkpoint names."""
_PATH = re.compile(r"\s*[^\W\d]\w*([.:]\w+)+\s*")


_OUR_CURRICULA = "lit_rl.curriculum."


def refuse_foreign_classes(stored: dict[str, Any], given: dict[str, Any]) -> None:
    """Check that opening a checkpoint imports nothing but what the caller asked for.

    Args:
        stored: settings as they stand in the checkpoint.
        given: settings the caller passes himself.

    Raises:
        ConfigError: the checkpoint names a class of the user's that the caller has not passed.
    """
    curriculum = {} if "curriculum" in given else stored.get("curriculum") or {}
    for block in (curriculum, *(curriculum.get("dimensions") or {}).values()):
        _refuse_foreign_curriculum(block)
    policy = stored.get("policy", "")
    if "policy" not in given and any(mark in policy for mark in ".:"):
        raise ConfigError(f"the checkpoint names the policy class '{policy}'; pass policy='{policy}' to import it.")
    if "policy_kwargs" in given:
        return
    for key, value in _import_paths(stored.get("policy_kwargs") or {}, "policy_kwargs"):
        if not value.startswith(_KNOWN):
            raise ConfigError(
                f"the checkpoint names the class '{value}' in {key}; pass policy_kwargs yourself to import it."
            )


def _refuse_foreign_curriculum(block: dict[str, Any]) -> None:
    """The rules of the levels, and what chooses among these."""
    for level in block.get("levels") or []:
        for rule in (*parts_of_rule(level.get("promote")), *parts_of_rule(level.get("demote"))):
            if not str(rule.get("class_path", _OUR_CURRICULA)).startswith(_OUR_CURRICULA):
                raise ConfigError(
                    f"the checkpoint names the rule '{rule['class_path']}' of level '{level['name']}'; pass "
                    "curriculum yourself to import it."
                )
    for key in ("sample", "schedule"):
        for path in class_paths(block.get(key)):
            if not path.startswith(_OUR_CURRICULA):
                raise ConfigError(
                    f"the checkpoint names the class '{path}' in curriculum.{key}; pass curriculum yourself to import "
                    "it."
                )


def foreign_environment(stored: dict[str, Any]) -> str | None:
    """What would be imported and called to make the environments that a checkpoint names, in words.

    Registered ids and the wrapper classes of gymnasium are not meant; `None` where there is nothing else.
    """
    env = stored.get("env") or {}
    if env.get("class_path") is not None:
        return f"the environment class '{env['class_path']}'"
    if ":" in (env.get("id") or ""):
        return f"the environment '{env['id']}'"
    for wrapper in env.get("wrappers") or ():
        path = str(wrapper.get("class_path") if isinstance(wrapper, dict) else wrapper)
        package, _, name = path.rpartition(".")
        if package != "gymnasium.wrappers" or not isinstance(getattr(gym.wrappers, name, None), type):
            return f"the wrapper '{path}'"
    return None


def _import_paths(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text at any depth that could be taken for the import path of a class, with its key."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _import_paths(item, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _import_paths(item, f"{key}[{i}]")
    elif isinstance(value, str) and _PATH.fullmatch(value):
        yield key, value


def with_masks(env: EnvConfig, algorithm: type[Algorithm]) -> EnvConfig:
    """The environments as an algorithm plays them: with masks where it needs them.

    Raises:
        ConfigError: they are asked for, and it knows nothing of them.
    """
    if env.action_masks and algorithm.MASKS == "refused":
        raise ConfigError(
            f"env.action_masks: {algorithm.__name__} does not know which actions are allowed; use MaskablePPO, PPO, "
            "A2C or RecurrentPPO, or remove it."
        )
    return replace(env, action_masks=True) if algorithm.MASKS == "needed" else env


def given_masks(module: Algorithm, given: Any, n: int) -> np.ndarray | None:
    """Masks that `predict` is given for n observations, bool [n, M]; `None` stays.

    Raises:
        ConfigError: the policy was trained without, or they are none for so many.
    """
    if given is not None and not module.env_config.action_masks:
        raise ConfigError(
            f"predict: action_masks: this policy of {type(module).__name__} was trained without, and does not look at "
            "them; leave them out, or train with MaskablePPO or env.action_masks: true."
        )
    return None if given is None else masks_for(given, module.action_space, n)
