"""Which spaces are supported, and what to do about one that is not."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.envs.config import EnvConfig
from lit_rl.envs.spaces import SEPARATOR, plain_space
from lit_rl.errors import ConfigError

_FLAT = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
_NO_SIZE = (spaces.Graph, spaces.Sequence)


def check_spaces(observation: Any, action: Any, config: EnvConfig) -> None:
    """Refuse an environment whose spaces no policy can have.

    Raises:
        ConfigError: names the space, or the part of a Dict, and what to do.
    """
    for what, space in (("observation_space", observation), ("action_space", action)):
        if not isinstance(space, spaces.Space):
            wrong = f"there is no {what}" if space is None else f"{what} is a {type(space).__module__}.{_kind(space)}"
            raise ConfigError(f"env {config.name}: {wrong}; set it to a space of gymnasium.spaces.")
    _check_observation(observation, config, ())
    try:
        plain = plain_space(observation)
    except ConfigError as error:
        raise ConfigError(f"env {config.name}: {error}") from None
    if _size(plain) == 0:
        raise ConfigError(f"env {config.name}: the observation space {observation} holds no number to learn from.")
    if not isinstance(action, _FLAT):
        advice = (
            "; use Box, Discrete, MultiDiscrete or MultiBinary. A gymnasium.ActionWrapper of your own can make one, "
            "such as MultiDiscrete for a Tuple or Dict of Discrete"
        )
        raise ConfigError(f"env {config.name}: action space {_kind(action)} is not supported{advice}.")
    if _size(action) == 0:
        raise ConfigError(f"env {config.name}: the action space {action} holds no action to choose.")


def _check_observation(space: spaces.Space[Any], config: EnvConfig, path: tuple[Any, ...]) -> None:
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            _check_observation(part, config, (*path, key))
    elif not isinstance(space, _FLAT):
        where = f" at '{SEPARATOR.join(map(str, path))}'" if path else ""
        advice = "a wrapper such as gymnasium.wrappers.FlattenObservation can make one"
        if isinstance(space, _NO_SIZE):
            advice = "its size is not fixed: a gymnasium.ObservationWrapper of your own can make one, cut or padded"
        raise ConfigError(
            f"env {config.name}: observation space {_kind(space)}{where} is not supported; use Box, Discrete, "
            f"MultiDiscrete, MultiBinary or a Dict of them ({advice})."
        )


def _size(space: spaces.Space[Any]) -> int:
    if isinstance(space, spaces.Dict):
        return sum(_size(part) for part in space.spaces.values())
    return int(np.prod(space.shape or ()))


def _kind(space: Any) -> str:
    return type(space).__name__
