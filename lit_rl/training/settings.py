"""Hyperparameters between Python, YAML and checkpoints: classes by name, records as dictionaries."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import gymnasium as gym
from jsonargparse import Namespace

from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError
from lit_rl.networks.policies import names_class
from lit_rl.training.evaluation import EvalConfig


def to_plain_settings(value: Any) -> Any:
    """Settings as plain values: dataclasses and the parser's groups as dictionaries, classes as dotted names."""
    if isinstance(value, Namespace):
        value = value.as_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain_settings(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_plain_settings(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain_settings(item) for item in value]
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    return value


def default_settings(algorithm: type) -> dict[str, Any]:
    """What settings are that nobody gives: those of an algorithm, its environments and its evaluation."""
    given = inspect.signature(algorithm).parameters.values()
    own = {each.name: to_plain_settings(each.default) for each in given if each.default is not each.empty}
    return {**own, "env": to_plain_settings(EnvConfig()), "evaluation": to_plain_settings(EvalConfig())}


_KNOWN = ("torch.nn.", "torch.optim.", "stable_baselines3.common.")
"""Where classes may come from that only a checkpoint names."""


def refuse_foreign_classes(stored: dict[str, Any], given: dict[str, Any]) -> None:
    """Check that opening a checkpoint imports nothing but what the caller asked for.

    Args:
        stored: settings as they stand in the checkpoint.
        given: settings the caller passes himself.

    Raises:
        ConfigError: the checkpoint names a class of the user's that the caller has not passed.
    """
    levels = [] if "curriculum" in given else (stored.get("curriculum") or {}).get("levels", [])
    for level in levels:
        for rule in (level.get("promote") or {}, level.get("demote") or {}):
            if not rule.get("class_path", "lit_rl.curriculum.").startswith("lit_rl.curriculum."):
                raise ConfigError(
                    f"the checkpoint names the rule '{rule['class_path']}' of level '{level['name']}'; pass "
                    "curriculum yourself to import it."
                )
    policy = stored.get("policy", "")
    if "policy" not in given and any(mark in policy for mark in ".:"):
        raise ConfigError(f"the checkpoint names the policy class '{policy}'; pass policy='{policy}' to import it.")
    if "policy_kwargs" in given:
        return
    for key, value in (stored.get("policy_kwargs") or {}).items():
        if names_class(key) and isinstance(value, str) and "." in value and not value.startswith(_KNOWN):
            raise ConfigError(
                f"the checkpoint names the class '{value}' in policy_kwargs.{key}; pass policy_kwargs "
                "yourself to import it."
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
