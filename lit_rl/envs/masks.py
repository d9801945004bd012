"""Which actions an environment allows at the moment, as sb3-contrib's `action_masks()` says it.

A mask has one flag for each action of a Discrete space, for each choice of every part of a MultiDiscrete one, side by
side, and for 0 and 1 of every part of a MultiBinary one: bool [M].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from lit_rl.envs.failures import InvalidOutput
from lit_rl.errors import ConfigError

METHOD = "action_masks"


def choices(space: spaces.Space[Any]) -> tuple[int, ...]:
    """How many choices each part of an action has.

    Raises:
        ConfigError: actions of this space cannot be masked.
    """
    if isinstance(space, spaces.Discrete):
        return (int(space.n),)
    if isinstance(space, spaces.MultiDiscrete):
        return tuple(int(n) for n in space.nvec.reshape(-1))
    if isinstance(space, spaces.MultiBinary):
        return (2,) * int(np.prod(space.shape))
    raise ConfigError(
        f"env.action_masks: is for Discrete, MultiDiscrete and MultiBinary actions; this environment has {space}."
    )


def has_masks(env: gym.Env[Any, Any]) -> bool:
    """Whether an environment, or a wrapper of it, says which of its actions are allowed."""
    maskable = spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
    return env.has_wrapper_attr(METHOD) and isinstance(env.action_space, maskable)


class Mask:
    """The mask of one environment: what `look` gives.

    Args:
        env: the outermost wrapper; the method is that of the outermost one which has it.
        name: what to call the environment.

    Raises:
        ConfigError: nothing there has the method, or the actions cannot be masked.
    """

    def __init__(self, env: gym.Env[Any, Any], name: str) -> None:
        parts = choices(env.action_space)
        self._size, self._starts = sum(parts), np.cumsum((0, *parts[:-1]))
        self._whole = len(parts) == 1
        try:
            self._ask: Callable[[], Any] = env.get_wrapper_attr(METHOD)
            if not callable(self._ask):
                raise AttributeError(METHOD)
        except AttributeError:
            raise ConfigError(
                f"env.action_masks: {name} has no method {METHOD}(), which says the actions that are allowed; give it "
                f"one, or a wrapper that has it in env.wrappers."
            ) from None

    def look(self) -> np.ndarray:
        """Which actions are allowed now: bool [M].

        Raises:
            InvalidOutput: what the environment gives is no mask, or allows nothing.
        """
        said = self._ask()
        try:
            given = np.asarray(said)
        except ValueError:  # lists of different lengths
            raise InvalidOutput(f"a mask from {METHOD}() that is no array: {str(said)[:80]}") from None
        mask = _as_flags(given.reshape(-1))
        if mask is None:
            raise InvalidOutput(f"a mask from {METHOD}() that is not of true and false: {str(given.tolist())[:80]}")
        if mask.size != self._size:
            raise InvalidOutput(f"a mask of {mask.size} flags from {METHOD}(), and its actions have {self._size}")
        allowed = mask.any() if self._whole else np.logical_or.reduceat(mask, self._starts).all()
        if not allowed:
            what = "no action" if self._whole else "nothing of a part of its actions"
            raise InvalidOutput(f"a mask that allows {what}")
        return mask


def _as_flags(given: np.ndarray) -> np.ndarray | None:
    """What is true and false, or 1 and 0, as flags; `None` for anything else."""
    if given.dtype == np.bool_:
        return given
    are_flags = given.dtype.kind in "uif" and ((given == 0) | (given == 1)).all()
    return given.astype(np.bool_) if are_flags else None


def random_allowed(space: spaces.Space[Any], mask: np.ndarray, rng: np.random.Generator) -> Any:
    """A uniform action among those that a mask allows."""
    parts = choices(space)
    drawn = [int(rng.choice(np.flatnonzero(part))) for part in np.split(mask, np.cumsum(parts)[:-1])]
    if isinstance(space, spaces.Discrete):
        return np.dtype(space.dtype).type(drawn[0])
    return np.array(drawn, dtype=space.dtype).reshape(space.shape)


def with_method(cls: Any, env: gym.Env[Any, Any], init_args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a wrapper; where sb3-contrib's `ActionMasker` is given the name of a method, with that method.

    It would look for it right below itself, where our own wrapper lies.

    Args:
        cls: the wrapper.
        env: what it wraps.
        init_args: its arguments, as the `env` block has them.

    Raises:
        ConfigError: nothing below has such a method.
    """
    name = init_args.get("action_mask_fn")
    if getattr(cls, "__name__", "") != "ActionMasker" or not isinstance(name, str):
        return dict(init_args)
    try:
        method = env.get_wrapper_attr(name)
    except AttributeError:
        raise ConfigError(f"env.wrappers: ActionMasker's action_mask_fn: the environment has no {name}().") from None
    return {**init_args, "action_mask_fn": lambda _: method()}


def masks_for(given: Any, space: spaces.Space[Any], n: int) -> np.ndarray:
    """Masks that somebody gives for n observations, bool [n, M].

    Raises:
        ConfigError: there are others than n, they are of another size, no flags, or allow nothing.
    """
    parts = choices(space)
    try:
        flags = np.asarray(given)
    except ValueError:
        flags = np.zeros(0)
    size = sum(parts)
    if flags.shape not in ((size,), (n, size)) or (flags.ndim == 1 and n != 1):
        raise ConfigError(
            f"predict: action_masks has the shape {flags.shape}; {n} of {size} flags are needed: {(n, size)}."
        )
    masks = _as_flags(flags.reshape(n, size))
    if masks is None:
        raise ConfigError("predict: action_masks are true and false.")
    if not np.logical_or.reduceat(masks, np.cumsum((0, *parts[:-1])), axis=1).all():
        raise ConfigError("predict: action_masks allow nothing.")
    return masks
