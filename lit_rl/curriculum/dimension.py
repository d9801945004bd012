"""One dimension of a curriculum: some levels, and how an episode comes to one of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lit_rl.curriculum.choice import Choice
from lit_rl.data.episode import Episode


@dataclass(frozen=True)
class LevelChange:
    """A step to another level.

    timesteps: of the whole run when it happened. old, new: indices of the levels, with their names.
    reason: the numbers that decided, in words. dimension: its name, where there are several.
    """

    timesteps: int
    old: int
    new: int
    old_name: str
    new_name: str
    reason: str
    dimension: str = ""

    def __str__(self) -> str:
        of = f" {self.dimension}" if self.dimension else ""
        return (
            f"curriculum{of}: level {self.old} '{self.old_name}' -> {self.new} '{self.new_name}' "
            f"at timestep {self.timesteps:,} ({self.reason})"
        )


class Dimension(ABC):
    """Levels of one kind, and the state of whatever chooses among them.

    Args:
        names: of its levels.
        key: what error messages call the list.
        name: its own; empty where there is only one.
    """

    current: int | None = None
    """Index of the level that is current for the whole run, if there is such a one."""
    wants_scores = False
    """Whether episodes must have a `score`."""
    needs_evaluation = False
    """Whether it waits for evaluations, so that a run without them would never go on."""

    def __init__(self, names: Sequence[str], key: str, name: str = "") -> None:
        self.names, self.key, self.name = tuple(names), key, name

    @abstractmethod
    def choice(self) -> Choice:
        """How the level of an episode is chosen from now on; the same object where nothing has changed."""

    @abstractmethod
    def record(self, outcomes: Sequence[Episode], timesteps: int) -> None:
        """Take in one iteration: its outcomes in the fixed order, and its timesteps over all environments."""

    def record_evaluation(self, metrics: Mapping[str, float]) -> None:  # noqa: B027  only some look at it
        """Take in one evaluation, such as `{"eval/mean_reward": 200.0, "eval/success_rate": 0.9}`."""

    def advance(self, timesteps: int) -> LevelChange | None:
        """The check at the end of an iteration; `timesteps`: of the whole run so far."""
        return None

    @abstractmethod
    def start_at(self, level: int) -> None:
        """Begin at another level than 0, with empty counts (a warmstart).

        Raises:
            ConfigError: there is no such level, or none to begin at.
        """

    @abstractmethod
    def carry(self, state: Mapping[str, Any]) -> None:
        """Begin where another run's state stands (a warmstart)."""

    def check_envs(self, n_envs: int) -> None:  # noqa: B027  only some mind
        """Refuse a number of environments, of all ranks, that the levels do not fit."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """Numbers to log, by name without a prefix."""

    @abstractmethod
    def describe(self) -> str:
        """Where it stands in a few words."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that the next choice depends on, as plain values."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The reverse of `state_dict`."""
