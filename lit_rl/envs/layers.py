"""Which classes may not be an environment or a wrapper of one, with what to use instead."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError

_WRAPPERS = (gym.Wrapper, gym.vector.VectorWrapper)
_INSTEAD = {
    "NormalizeObservation": "env.normalize: {obs: true}",
    "NormalizeReward": "env.normalize: {reward: true}",
    "VecNormalize": "env.normalize: {obs: true, reward: true}",
    "VecFrameStack": "env.frame_stack",
}
_VECTORISED = ("gymnasium.vector.", "gymnasium.wrappers.vector.", "stable_baselines3.common.vec_env.")


def check_wrapper(wrapper: Any, key: str) -> None:
    """Refuse what cannot be put around a single environment, before it is.

    Raises:
        ConfigError: it is for vectorised environments, or keeps moments of its own; says what to use instead.
    """
    if not isinstance(wrapper, type):
        return
    kind = _kind_with_moments(wrapper)
    if kind is not None and issubclass(kind, gym.Wrapper):
        raise ConfigError(_own_moments(wrapper, kind, key))
    for cls in wrapper.__mro__:
        if f"{cls.__module__}.".startswith(_VECTORISED):
            instead = next((_INSTEAD[each.__name__] for each in wrapper.__mro__ if each.__name__ in _INSTEAD), None)
            use = f"use {instead} instead" if instead else "use one for single environments, or remove it"
            raise ConfigError(f"{key}: {wrapper.__name__} is for vectorised environments, and these are single; {use}.")


def check_environment(env: Any, key: str, name: str) -> None:
    """What a class or function has made must be an environment of gymnasium.

    Raises:
        ConfigError: it is something else; `name` is what has made it.
    """
    if isinstance(env, gym.Env):
        return
    made = type(env)
    modules = [cls.__module__ for cls in made.__mro__]
    if any(f"{module}.".startswith(_VECTORISED) for module in modules):
        why = "is a vectorised environment; name the single one, and how many by env.n_envs"
        if any(module.startswith("gymnasium.") for module in modules):
            why += " (or env.backend: native for one that resets in the same step)"
    elif any(module.split(".")[0] == "gym" for module in modules):
        why = "is an environment of the old gym; derive it from gymnasium.Env, or wrap it with the package shimmy"
    else:
        why = "is no gymnasium.Env; name a class that derives from it, or a function that makes one"
    raise ConfigError(f"{key}: {name} gives a {made.__name__}, which {why}.")


def check_layers(env: Any, config: EnvConfig) -> None:
    """Look through all layers of an environment for one that keeps moments of its own, whoever put it there.

    What the innermost holds in its attributes is looked through as well.

    Args:
        env: a single environment, or a vectorised one.
        config: for its name.

    Raises:
        ConfigError: there is one.
    """
    waiting, seen = [env], set[int]()
    while waiting:
        layer = waiting.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        kind = _kind_with_moments(type(layer))
        if kind is not None:
            raise ConfigError(_own_moments(type(layer), kind, f"env {config.name}"))
        if isinstance(layer, _WRAPPERS):
            waiting.append(layer.env)
        else:
            waiting += [each for each in vars(layer).values() if isinstance(each, _WRAPPERS)]


def _kind_with_moments(cls: type[Any]) -> type[Any] | None:
    """The class of gymnasium's that keeps moments, which this one is or derives from."""
    named = ("NormalizeObservation", "NormalizeReward")
    return next(
        (c for c in cls.__mro__ if c.__name__ in named and c.__module__.startswith("gymnasium.wrappers.")), None
    )


def _own_moments(cls: type[Any], kind: type[Any], key: str) -> str:
    what = "" if cls is kind else f", a {kind.__name__},"
    return (
        f"{key}: {cls.__name__}{what} keeps moments of its own, other ones in each environment and in no checkpoint; "
        f"remove it and use {_INSTEAD[kind.__name__]} instead."
    )
