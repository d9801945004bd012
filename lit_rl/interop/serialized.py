"""Settings of an agent that stand in its file as pickles: a few known forms, read as records and never run.

A schedule that is a function is recognised by its name, its code and the numbers that it closes over; nothing of it is
made. Known are `constant_fn` and `get_linear_fn` of stable-baselines3's `common/utils.py` (up to 2.5), and the
`linear_schedule` of its documentation and of the RL Zoo, `progress_remaining * initial_value`.
"""

from __future__ import annotations

import base64
import binascii
import io
import pickletools
from collections.abc import Callable
from itertools import takewhile
from typing import Any

from lit_rl.errors import DataError
from lit_rl.interop.text import Value
from lit_rl.untrusted.arrays import ARRAYS, array_of
from lit_rl.untrusted.pickles import Made, parse

_LIMIT = 1 << 16
"""Characters that such a pickle may have."""
_OPCODES = 4000
_FREQUENCY = "stable_baselines3.common.type_aliases.TrainFreq"
_UNIT = "stable_baselines3.common.type_aliases.TrainFrequencyUnit"
_SB3_UTILS = "stable_baselines3.common.utils"
_NOISE = "stable_baselines3.common.noise."
_NOISES = {
    f"{_NOISE}NormalActionNoise": ("normal", {}),
    f"{_NOISE}OrnsteinUhlenbeckActionNoise": ("ornstein-uhlenbeck", {"_theta": 0.15, "_dt": 0.01}),
}
"""Noise by its class: the name that a run has for it, and what it has to be set to for ours to be the same."""


def _linear(initial_value: float) -> tuple[Callable[[float], float], ...]:
    """The two ways to write it, for their code."""

    def func(progress_remaining: float) -> float:
        return progress_remaining * initial_value

    def other(progress_remaining: float) -> float:
        return initial_value * progress_remaining

    return func, other


_PRODUCTS = {
    b"|\x00\x88\x00\x14\x00S\x00",  # of Python 3.6 to 3.10
    b"\x88\x00|\x00\x14\x00S\x00",
    b"\x95\x01\x97\x00|\x00\x89\x01z\x05\x00\x00S\x00",  # of 3.11 and 3.12
    b"\x95\x01\x97\x00\x89\x01|\x00z\x05\x00\x00S\x00",
    b">\x01\x95\x00U\x00T\x01-\x05\x00\x00$\x00",  # of 3.13
    b">\x01\x95\x00T\x01U\x00-\x05\x00\x00$\x00",
}
_PRODUCTS |= {func.__code__.co_code for func in _linear(1.0)}


def schedule_function(text: str) -> Value | None:
    """The schedule that a function is, from its pickle by cloudpickle in base64; `None` where it is not known.

    It may stand within what stable-baselines3 makes of every clip range: up to 2.6 a function around it, and a
    FloatSchedule since.
    """
    tokens = _tokens(text)
    if _name(tokens) == "get_schedule_fn.<locals>.<lambda>" and _SB3_UTILS in tokens:
        tokens = _after(tokens, "__closure__")
    words = [value for value in tokens if isinstance(value, str)]
    closure = [*takewhile(lambda value: value != "_cloudpickle_submodules", _after(tokens, "__closure__"))]
    numbers = [float(value) for value in closure if type(value) in (int, float)]
    name = _name(tokens)
    ours = _SB3_UTILS in words
    if name == "constant_fn.<locals>.func" and ours and "val" in words and len(numbers) == 1:
        return numbers[0]
    if name == "get_linear_fn.<locals>.func" and ours and len(numbers) == 3:
        end, fraction, start = numbers  # cells lie in the order of their names
        if tuple(w for w in words if w in ("end", "end_fraction", "start"))[:3] == ("end", "end_fraction", "start"):
            return {"start": start, "end": end, "shape": "linear", "fraction": fraction} if 0 < fraction <= 1 else None
    code = next((value for value in tokens if isinstance(value, bytes)), None)
    if name == "linear_schedule.<locals>.func" and code in _PRODUCTS and len(numbers) == 1:
        return f"lin_{numbers[0]!r}"
    return None


def _name(tokens: list[Any]) -> str | None:
    return next((value for value in _after(tokens, "__qualname__") if isinstance(value, str)), None)


def _tokens(text: str) -> list[Any]:
    """The values in a pickle, in their order, each as often as it is used; empty where it is none."""
    if len(text) > _LIMIT:
        return []
    try:
        found, memo, last = [], dict[Any, Any](), None
        for count, (opcode, value, _) in enumerate(pickletools.genops(base64.b64decode(text, validate=True))):
            if count > _OPCODES:
                return []
            if opcode.name == "MEMOIZE" or opcode.name.endswith("BINPUT"):
                memo[len(memo) if value is None else value] = last
                continue
            last = memo.get(value) if opcode.name.endswith("BINGET") else value
            if opcode.name not in ("PUT", "GET", "FRAME", "PROTO"):
                found += [] if last is None else [last]
        return found
    except (ValueError, IndexError, KeyError, TypeError, binascii.Error, UnicodeDecodeError):
        return []


def _after(tokens: list[Any], word: str) -> list[Any]:
    return tokens[tokens.index(word) + 1 :] if word in tokens else []


def plain_value(kind: str, text: str) -> Any:
    """A NumPy number or SB3's `TrainFreq`, by the name of its class; `None` for anything else.

    Args:
        kind: dotted name of the class.
        text: its pickle in base64.
    """
    if not (kind.startswith("numpy.") or kind == _FREQUENCY) or len(text) > _LIMIT:
        return None
    try:
        stream = io.BytesIO(base64.b64decode(text, validate=True))
        value = parse(stream, ARRAYS | {_FREQUENCY, _UNIT}, kind).value
        if isinstance(value, Made) and value.name == _FREQUENCY:
            count, unit = value.args
            return [count, unit.args[0]] if type(count) is int and unit.args[0] in ("step", "episode") else None
        number = array_of(value, kind)
        return number.item() if number.shape == () else None
    except (DataError, TypeError, ValueError, AttributeError, IndexError, binascii.Error):
        return None


def action_noise(text: str) -> dict[str, Any] | None:
    """`noise_type` and `noise_std` of SB3's action noise, from its pickle in base64; `None` where we have none like it.

    Ours has mean 0 and the same deviation for every dimension.
    """
    if len(text) > _LIMIT:
        return None
    allowed = ARRAYS | _NOISES.keys() | {f"{_NOISE}VectorizedActionNoise", "numpy.float32", "numpy.float64"}
    try:
        made = parse(io.BytesIO(base64.b64decode(text, validate=True)), frozenset(allowed), "action_noise").value
        if made.name == f"{_NOISE}VectorizedActionNoise":
            made = made.state["_base_noise"]
        kind, wanted = _NOISES[made.name]
        std, mean = array_of(made.state["_sigma"], "sigma").ravel(), array_of(made.state["_mu"], "mu")
        same = all(made.state[key] == value for key, value in wanted.items())
        same = same and made.state.get("initial_noise") is None
        if not (same and len(std) and (std == std[0]).all() and (mean == 0).all()):
            return None
        return {"noise_type": kind, "noise_std": float(std[0])}
    except (DataError, TypeError, ValueError, AttributeError, IndexError, KeyError, binascii.Error):
        return None
