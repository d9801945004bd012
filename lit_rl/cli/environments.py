"""The environment that an argument of a command names, as `env.id` and `env.class_path` do."""

from __future__ import annotations

import importlib
import inspect

import gymnasium as gym

from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError, did_you_mean, raised


def named_environment(name: str) -> EnvConfig:
    """An id (`CartPole-v1`, `module:Id`) or a class (`module:Class`, `module.Class`).

    Raises:
        ConfigError: its module cannot be imported, or has neither.
    """
    if not name.strip():
        raise ConfigError("ENV is empty: name an environment, such as CartPole-v1, module:Id or module:Class.")
    module, colon, attribute = name.partition(":")
    if not colon:
        module, _, attribute = name.rpartition(".")
        if not module or "/" in name:
            return EnvConfig(id=name)
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise ConfigError(f"{name}: cannot import {module}: {raised(error)}.") from None
    if inspect.isclass(getattr(found, attribute, None)):
        return EnvConfig(class_path=name)
    if colon and attribute in gym.registry:
        return EnvConfig(id=name)
    own = [key for key, each in inspect.getmembers(found, inspect.isclass) if issubclass(each, gym.Env)]
    near = did_you_mean(attribute, [*own, *gym.registry])
    raise ConfigError(f"{name}: {module} has no class '{attribute}' and registers no such id.{near}")
