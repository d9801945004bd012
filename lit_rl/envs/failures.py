"""Environments that crash, hang or send what none may send: how it is reported, and when they are made anew."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.envs.config import EnvConfig
from lit_rl.errors import LitRLError, raised


class EnvironmentFailed(LitRLError):
    """An environment crashed, hung or sent what no environment may send."""

    timesteps: int | None = None
    """The run's timestep, once somebody knows it."""

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.timesteps is None else f"{text} (timestep {self.timesteps:,})"


_said: set[str] = set()


def close(env: Any, name: str) -> None:
    """Close an environment. One that cannot be closed is no reason to lose what it was used for; it is said once."""
    try:
        env.close()
    except Exception as error:
        text = f"WARNING: {name} raised {raised(error)} while it was closed."
        if text not in _said:
            _said.add(text)
            print(text, file=sys.stderr, flush=True)


class InvalidOutput(Exception):
    """What an environment sent is none of what it may send; its slot knows which environment it is."""


class EnvironmentLost(EnvironmentFailed):
    """An environment raised an exception, or its worker died or hung. The run is as good as before it.

    The exit code is 1, or 75 once the state before the iteration has been saved.
    """


@dataclass(frozen=True)
class Restart:
    """Environments that were made anew.

    Args:
        rows: their positions in the vector environment.
        cause: one line that names environment and cause.
    """

    rows: tuple[int, ...]
    cause: str


class Restarts:
    """Whether a lost environment is made anew, and how often that has been done.

    Args:
        config: says `on_env_crash` and `max_restarts`.
    """

    def __init__(self, config: EnvConfig) -> None:
        self.wanted = config.on_env_crash == "restart"
        self._limit = config.max_restarts
        self._in_a_row = 0
        self._in_this_iteration = False

    @property
    def allowed(self) -> int:
        """How many may come before the run stops."""
        return self._limit - self._in_a_row if self.wanted else 0

    def count(self, restart: Restart, error: EnvironmentLost) -> None:
        """Count and report a restart that comes next.

        Raises:
            EnvironmentLost: `error`, if there must be none.
        """
        if not self.wanted:
            raise error
        if self._in_a_row == self._limit:
            last = EnvironmentLost(
                f"{restart.cause} {self._limit} restarts came before it without a whole iteration between them "
                "(env.max_restarts)."
            )
            for note in getattr(error, "__notes__", []):
                last.add_note(note)
            raise last from error
        self._in_a_row += 1
        self._in_this_iteration = True
        print(f"WARNING: {restart.cause} Made anew (env.on_env_crash: restart).", file=sys.stderr, flush=True)

    def count_all(self, losses: Iterable[tuple[int, EnvironmentLost]]) -> list[Restart]:
        """Count and report what a block of environments has lost, in its order: (position, error) of each.

        Raises:
            EnvironmentLost: as `count`.
        """
        counted = []
        for i, error in losses:
            counted.append(Restart((i,), str(error)))
            self.count(counted[-1], error)
        return counted

    def iteration_ended(self) -> None:
        """An iteration without a restart ends a row of them."""
        if not self._in_this_iteration:
            self._in_a_row = 0
        self._in_this_iteration = False


def wrong_observation(obs: Any, space: spaces.Space[Any]) -> str | None:
    """What makes an observation none of its space: parts, shape, or a type that its numbers do not fit in.

    Bounds are not checked. A narrower or wider type of the same kind passes, and integers where floats are expected;
    `None` where nothing is wrong.
    """
    if isinstance(obs, np.ndarray) and obs.shape == space.shape and obs.dtype == space.dtype:
        return None
    if isinstance(space, spaces.Dict):
        if not isinstance(obs, Mapping):
            return f"an observation that is a {type(obs).__name__}, and its space is a Dict"
        for key, part in space.spaces.items():
            if key not in obs:
                return f"an observation without '{key}'"
            wrong = wrong_observation(obs[key], part)
            if wrong is not None:
                return f"{wrong}, in '{key}'"
        return None
    try:
        array = np.asarray(obs)
    except ValueError:  # lists of different lengths
        return "an observation that is no array"
    shape, dtype = tuple(space.shape or ()), np.dtype(space.dtype)
    if array.dtype.kind not in "biuf":
        return f"an observation of type {type(obs).__name__} ({array.dtype}), and its space has {dtype}"
    if array.shape != shape:
        return f"an observation of shape {array.shape}, and its space has {shape}"
    ranks = {"b": 0, "u": 1, "i": 1, "f": 2}
    if ranks[array.dtype.kind] > ranks[dtype.kind]:
        return f"an observation of type {array.dtype}, and its space has {dtype}"
    if dtype.kind in "ui" and not np.array_equal(array.astype(dtype), array):
        return f"an observation of type {array.dtype} with numbers that its space's {dtype} cannot hold"
    return None


def wrong_reward(reward: Any) -> str | None:
    """What makes a reward none: it must be one real number."""
    if isinstance(reward, float):  # most are, and this is quick
        return None
    if isinstance(reward, numbers.Real | np.bool_):
        return None
    if isinstance(reward, np.ndarray) and reward.size == 1 and reward.dtype.kind in "biuf":
        return None
    return f"a reward that is no number: {type(reward).__name__} {' '.join(repr(reward).split())[:80]}"
