"""The spaces of a stable-baselines3 agent: pickles read as records, from which only arrays and numbers are taken.

Their readable text leaves out the bounds of larger ones, without which no action can be scaled.
"""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.errors import DataError
from lit_rl.interop.sb3 import Agent
from lit_rl.interop.vecnormalize import SPACES
from lit_rl.untrusted.arrays import array_of
from lit_rl.untrusted.pickles import Made, parse


def space_in(agent: Agent, key: str) -> spaces.Space[Any]:
    """The `observation_space` or `action_space` of an agent; nothing in it is run.

    Raises:
        DataError: it is missing, or something else than a space of gym's or gymnasium's.
    """
    where = f"{agent.path}: {key}"
    text = agent.pickled_spaces.get(key)
    if text is None:
        raise DataError(f"{where}: is missing.")
    try:
        return _space(parse(io.BytesIO(base64.b64decode(text, validate=True)), SPACES, where).value)
    except (KeyError, TypeError, ValueError, AssertionError, IndexError, binascii.Error) as error:
        raise DataError(f"{where}: is not a whole space ({str(error)[:120]}).") from None


def _space(record: Any) -> spaces.Space[Any]:
    if not isinstance(record, Made) or not isinstance(record.state, dict):
        raise TypeError("it is no space")
    state, kind = record.state, record.name.rsplit(".", 1)[-1]
    if kind == "Box":
        low, high = (np.array(array_of(state[name], name)) for name in ("low", "high"))
        return spaces.Box(low, high, dtype=low.dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(_whole(state["n"]), start=_whole(state.get("start", 0)))
    if kind == "MultiDiscrete":
        nvec = np.array(array_of(state["nvec"], "nvec"))
        start = np.array(array_of(state["start"], "start")) if state.get("start") is not None else None
        return spaces.MultiDiscrete(nvec, start=start)
    if kind == "MultiBinary":
        n = state["n"]
        if isinstance(n, tuple | list):
            return spaces.MultiBinary([_whole(each) for each in n])
        shape = np.array(array_of(n, "n"))
        return spaces.MultiBinary(int(shape) if shape.ndim == 0 else shape.tolist())
    if kind == "Dict":
        return spaces.Dict([(str(key), _space(part)) for key, part in state["spaces"].items()])
    raise TypeError(f"it is a {kind}")


def _whole(value: Any) -> int:
    array = array_of(value, "n")
    if array.shape != () or array.dtype.kind not in "iu":
        raise TypeError("a number in it is not whole")
    return int(array)
