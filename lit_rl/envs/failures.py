"""Environments that crash, hang or send what none may send: how it is reported, and when they are made anew."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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
