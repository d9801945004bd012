"""Giving an environment its level."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from lit_rl.curriculum.levels import Level
from lit_rl.errors import ConfigError, did_you_mean


def deliver(env: gym.Env[Any, Any], level: Level) -> None:
    """Set `level.attributes` on the unwrapped environment and call its `set_level`; before a reset.

    Values that are made for each episode have been put in (`assignment.Tasks.played`).

    `level.env_kwargs` are not handled here: they need the environment to be made anew.
    """
    for name, value in level.attributes.items():
        if not hasattr(env.unwrapped, name):
            raise ConfigError(
                f"curriculum: level '{level.name}' sets the attribute '{name}', which {_kind(env)} lacks; "
                f"name one that it has.{did_you_mean(name, vars(env.unwrapped))}"
            )
        setattr(env.unwrapped, name, value)
    if level.set_level is not None:
        if not env.has_wrapper_attr("set_level"):
            raise ConfigError(
                f"curriculum: level '{level.name}' uses set_level, and {_kind(env)} has no method of that "
                "name; write one, or use env_kwargs or attributes."
            )
        env.get_wrapper_attr("set_level")(level.set_level)


def _kind(env: gym.Env[Any, Any]) -> str:
    return type(env.unwrapped).__name__
