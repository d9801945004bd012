"""What an environment sends, beside what it may: each check gives what is wrong in words that follow "sent"."""

from __future__ import annotations

import numbers
import traceback
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.envs.failures import InvalidOutput

_RANKS = {"b": 0, "u": 1, "i": 1, "f": 2}
"""Kinds of numbers; those of a lower rank are taken where a higher one is expected."""


def wrong_observation(obs: Any, space: spaces.Space[Any]) -> str | None:
    """What makes an observation none of its space: its parts, shape, type, or a count that is out of range.

    The bounds of a Box are not checked. A narrower or wider type of the same kind passes, and integers where floats
    are expected; `None` where nothing is wrong.
    """
    if isinstance(obs, np.ndarray) and obs.shape == space.shape and obs.dtype == space.dtype:
        return None if isinstance(space, spaces.Box) else _out_of_range(obs, space)
    if isinstance(space, spaces.Discrete) and isinstance(obs, int | np.integer):
        return _out_of_range(obs, space)
    if isinstance(space, spaces.Dict):
        return _wrong_parts(obs, space)
    try:
        array = np.asarray(obs)
    except (ValueError, TypeError):  # lists of different lengths, a tensor on a device
        return f"an observation that is no array ({type(obs).__name__})"
    shape, dtype = tuple(space.shape or ()), np.dtype(space.dtype)
    if array.dtype.kind not in _RANKS:
        return f"an observation of type {type(obs).__name__} ({array.dtype}), and its space has {dtype}"
    if array.shape != shape:
        return f"an observation of shape {array.shape}, and its space has {shape}"
    if _RANKS[array.dtype.kind] > _RANKS[dtype.kind]:
        return f"an observation of type {array.dtype}, and its space has {dtype}"
    if dtype.kind in "ui" and not np.array_equal(array.astype(dtype), array):
        return f"an observation of type {array.dtype} with numbers that its space's {dtype} cannot hold"
    return _out_of_range(array, space)


def _wrong_parts(obs: Any, space: spaces.Dict) -> str | None:
    if not isinstance(obs, dict):
        return f"an observation that is a {type(obs).__name__}, and its space is a Dict"
    for key, part in space.spaces.items():
        if key not in obs:
            return f"an observation without {key!r}"
        wrong = wrong_observation(obs[key], part)
        if wrong is not None:
            return f"{wrong}, in {key!r}"
    if len(obs) > len(space.spaces):
        extra = next(key for key in obs if key not in space.spaces)
        return f"an observation with {extra!r}, which its space has not"
    return None


def _out_of_range(obs: Any, space: spaces.Space[Any]) -> str | None:
    """What is wrong with whole numbers of the right shape."""
    if isinstance(space, spaces.Discrete):
        inside = 0 <= int(obs) - int(space.start) < int(space.n)
    elif isinstance(space, spaces.MultiDiscrete):
        above = np.asarray(obs, dtype=np.int64) - space.start
        inside = bool(((above >= 0) & (above < space.nvec)).all())
    elif isinstance(space, spaces.MultiBinary):
        inside = bool(((obs == 0) | (obs == 1)).all())
    else:
        return None
    return None if inside else f"the observation {_short(np.asarray(obs).tolist())}, which is not in {_short(space)}"


def as_number(reward: Any) -> float:
    """A reward as the number that it is. An array of one number counts as that number.

    Raises:
        InvalidOutput: it is none.
    """
    if isinstance(reward, float):  # most are, and this is quick
        return float(reward)
    if isinstance(reward, numbers.Real | np.bool_):
        return float(reward)
    if not isinstance(reward, str | bytes | list | tuple | dict | None):
        try:
            array = np.asarray(reward)  # also a tensor's
        except (ValueError, TypeError):
            array = np.zeros(0)
        if array.size == 1 and array.dtype.kind in _RANKS:
            return float(array.item())
    raise InvalidOutput(f"a reward that is no number: {type(reward).__name__} {_short(repr(reward))}")


def check_flags(terminated: Any, truncated: Any) -> None:
    """Both must be true or false; 0 and 1 count as that, and arrays of one.

    Raises:
        InvalidOutput: one is something else.
    """
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if isinstance(flag, bool | np.bool_):
            continue
        if isinstance(flag, int | np.integer | np.ndarray):
            array = np.asarray(flag)
            if array.size == 1 and array.dtype.kind in "bui" and array.item() in (0, 1):
                continue
        raise InvalidOutput(f"a value of {name} that is neither true nor false: {_short(repr(flag))}")


def step_error(error: Exception) -> Exception:
    """What to raise for an error in ``obs, reward, terminated, truncated, info = env.step(action)``.

    A step of other than five values is found as it is unpacked, here or in a wrapper below; anything else is passed on.
    """
    said = str(error)
    if "unpack" not in said or not _raised_where_a_step_is_unpacked(error):
        return error
    old = "4 values from step(), as environments of the old gym do"
    what = old if "expected 5, got 4" in said else f"what step() does not give ({said})"
    return InvalidOutput(f"{what}; gymnasium's gives observation, reward, terminated, truncated, info")


def _raised_where_a_step_is_unpacked(error: Exception) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return frames[-1].f_globals.get("__name__", "").split(".")[0] in ("lit_rl", "gymnasium")


def first_observation(values: Any) -> tuple[Any, dict[str, Any]]:
    """Observation and info from what `reset` gives.

    Raises:
        InvalidOutput: it is not these two.
    """
    if isinstance(values, tuple | list) and len(values) == 2 and isinstance(values[1], dict):
        return values[0], values[1]
    what = f"{len(values)} values" if isinstance(values, tuple) else f"a {type(values).__name__}"
    if isinstance(values, tuple) and len(values) == 2:
        what = f"an info that is a {type(values[1]).__name__}"
    raise InvalidOutput(f"{what} from reset() (gymnasium's reset() gives observation, info: a dict)")


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
