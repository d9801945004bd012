"""What an environment itself shows and takes, and the same as the run sees it: what `predict` is given and gives.

Shapes: N observations; a batch has N in front in every part.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from lit_rl.envs.images import channels_first, is_image
from lit_rl.envs.spaces import SEPARATOR, own_action, own_key, plain_key
from lit_rl.envs.wrappers.channels_first import ChannelsFirst
from lit_rl.envs.wrappers.checked import Checked
from lit_rl.envs.wrappers.frame_stack import FrameStack
from lit_rl.envs.wrappers.plain_spaces import PlainSpaces
from lit_rl.errors import ConfigError

_WRAPPERS = (ChannelsFirst, FrameStack, PlainSpaces, Checked)


class OwnSpaces(NamedTuple):
    """The spaces of an environment as its user made it, below the wrappers that a run adds."""

    observation: spaces.Space[Any]
    action: spaces.Space[Any]


def own_env(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """An environment that a run has made, without the wrappers that the run adds."""
    while isinstance(env, _WRAPPERS):
        env = env.env
    return env


def own_spaces(env: gym.Env[Any, Any]) -> OwnSpaces:
    """The spaces of an environment that a run has made."""
    own = own_env(env)
    return OwnSpaces(own.observation_space, own.action_space)


class RawSpaces:
    """Observations and actions between an environment as its user made it and the run.

    An observation may come as the environment shows it, or as the run sees it (channels of images first, a Dict in a
    Dict flat). Stacked frames come stacked, as stable-baselines3's VecFrameStack stacks them.

    Args:
        observation: space as the run sees it, before normalisation.
        action: space as networks take it.
        own: the environment's spaces; `None` where they are the same or not known.
        n_stack: frames in an observation.
    """

    def __init__(
        self, observation: spaces.Space[Any], action: spaces.Space[Any], own: OwnSpaces | None = None, n_stack: int = 1
    ) -> None:
        self._seen, self._n_stack = observation, n_stack
        self._own_action = action if own is None else own.action
        self._acts_differently = own is not None and own.action != action
        shown = observation if own is None or n_stack > 1 else own.observation
        self.observation_space = _stacked(own.observation, n_stack) if own is not None and n_stack > 1 else shown
        """Of one observation, as the environment shows it."""
        self._own_parts = dict(_flat(shown))

    @property
    def action_space(self) -> spaces.Space[Any]:
        """Of one action, as the environment takes it."""
        return self._own_action

    def observed(self, observation: Any) -> tuple[Any, bool]:
        """Observations as the run sees them, [N, ...] in each part, and whether they came as a batch.

        Raises:
            ConfigError: they are not of the space; names the part, both shapes and the fix.
        """
        if not isinstance(self._seen, spaces.Dict):
            seen, is_batch = self._part("", observation, self._seen)
            return seen, is_batch
        given = dict(_flat_values(observation, self._own_parts))
        missing = [own_key(name) for name in self._seen.spaces if name not in given]
        if missing:
            raise ConfigError(
                f"predict: the observation has no part '{missing[0]}'; this policy takes a dictionary with "
                f"{', '.join(map(own_key, self._seen.spaces))}."
            )
        parts = {name: self._part(name, given[name], space) for name, space in self._seen.spaces.items()}
        if len({(is_batch, len(value)) for value, is_batch in parts.values()}) > 1:
            sizes = ", ".join(f"{own_key(name)}: {np.shape(given[name])}" for name in parts)
            raise ConfigError(f"predict: the parts of the observation are not of one batch ({sizes}).")
        return {name: value for name, (value, _) in parts.items()}, next(iter(parts.values()))[1]

    def _part(self, name: str, value: Any, seen: spaces.Space[Any]) -> tuple[np.ndarray, bool]:
        """One part of an observation, [N, ...], and whether it came as a batch."""
        array, own = _array(value), self._own_parts.get(name, seen)
        for space in (own, seen) if own is not seen else (seen, _channels_last(seen)):
            shape = space.shape or ()
            for is_batch in (False, True):
                if array.shape[is_batch:] == shape and array.ndim == len(shape) + is_batch:
                    batch = array if is_batch else array[None]
                    return self._as_seen(batch, space, seen, name), is_batch
        raise ConfigError(self._misshapen(name, array, own))

    def _as_seen(self, batch: np.ndarray, space: spaces.Space[Any], seen: spaces.Space[Any], name: str) -> np.ndarray:
        if batch.dtype.kind == "f" and np.dtype(seen.dtype).kind in "biu":
            where = f" in '{own_key(name)}'" if name else ""
            raise ConfigError(
                f"predict: the observation{where} is of {batch.dtype}, and the policy takes {seen.dtype} as the "
                "environment sends it; pass it unscaled."
            )
        if isinstance(space, spaces.Discrete) and isinstance(seen, spaces.Discrete):
            batch = batch - (int(space.start) - int(seen.start))
        elif isinstance(space, spaces.MultiDiscrete) and isinstance(seen, spaces.MultiDiscrete) and space != seen:
            batch = (batch - space.start).reshape(len(batch), -1)
        elif is_image(seen) and channels_first(seen) and space.shape != seen.shape:
            batch = np.moveaxis(batch, -1, 1)
        return np.ascontiguousarray(batch, dtype=seen.dtype).reshape(len(batch), *(seen.shape or ()))

    def _misshapen(self, name: str, array: np.ndarray, own: spaces.Space[Any]) -> str:
        where = f" in '{own_key(name)}'" if name else ""
        expected = tuple(own.shape or ())
        said = f"predict: the observation{where} has shape {array.shape}, and the policy takes {expected}"
        if self._n_stack > 1:
            return f"{said}: {self._n_stack} frames; wrap the environment in VecFrameStack(env, {self._n_stack})."
        return f"{said}, or a batch of them."

    def own_actions(self, actions: np.ndarray) -> np.ndarray:
        """Actions as the environment takes them, [N, ...], of what networks give."""
        if not self._acts_differently:
            return actions
        return np.stack([np.asarray(own_action(action, self._own_action)) for action in actions])


def _array(value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"predict: the observation is not an array of numbers ({error}).") from None
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"predict: the observation is not an array of numbers but a {type(value).__name__}.")
    return array


def _channels_last(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """An image with its channels last; any other space as it is."""
    if not (is_image(space) and channels_first(space)):
        return space
    assert isinstance(space, spaces.Box)
    return spaces.Box(np.moveaxis(space.low, 0, -1), np.moveaxis(space.high, 0, -1), dtype=space.dtype.type)


def _stacked(space: spaces.Space[Any], n_stack: int) -> spaces.Space[Any]:
    """The space of stacked frames, with channels where the environment has them."""
    if not isinstance(space, spaces.Box) or not space.shape:
        return space
    axis = 0 if is_image(space) and channels_first(space) else -1
    low, high = (np.repeat(bound, n_stack, axis=axis) for bound in (space.low, space.high))
    return spaces.Box(low, high, dtype=space.dtype.type)


def _flat(space: spaces.Space[Any], key: Any = None) -> list[tuple[str, spaces.Space[Any]]]:
    """The parts of a space by the names that `plain_space` gives them; the whole, named "", where it is no Dict."""
    if not isinstance(space, spaces.Dict):
        return [("" if key is None else plain_key(key), space)]
    return [part for name, inner in space.spaces.items() for part in _flat(inner, _joined(key, name))]


def _joined(key: str, name: Any) -> Any:
    """Where a part lies: the keys of a Dict in a Dict, the innermost last."""
    return name if key is None else f"{key}{SEPARATOR}{own_key(plain_key(name))}"


def _flat_values(observation: Any, known: dict[str, Any]) -> list[tuple[str, Any]]:
    """The parts of a Dict observation by their plain names, whether it came nested or flat."""
    if not isinstance(observation, dict):
        raise ConfigError(
            f"predict: the observation is a {type(observation).__name__}, and this policy takes a dictionary with "
            f"{', '.join(map(own_key, known))}."
        )
    return _walked(observation, None)


def _walked(observation: dict[Any, Any], key: Any) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in observation.items():
        whole = _joined(key, name)
        found += _walked(value, whole) if isinstance(value, dict) else [(plain_key(whole), value)]
    return found
