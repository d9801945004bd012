"""What is kept of an episode in flight, so that it can be brought back by playing it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class SlotState:
    """What is needed to bring an environment back in mid-episode.

    The environment's whole way since it was last truly reset: the episode it was in then, how it began, and every
    action since. (With lives as episodes, several episodes lie between two true resets.)

    Args:
        first_episode: index of the episode at the last true reset.
        episode: index of the episode going on now.
        actions: [steps, ...] every action since the last true reset.
        trace: checksum of every observation and reward since then.
        tokens: start states, where the environment has such (see `envs.monitor.EpisodeStart`).
        level: name of the curriculum's level it was reset on; `None` without a curriculum.
        task: what the curriculum gave it beside the level, as `Task.to_plain` has it.
    """

    first_episode: int
    episode: int
    actions: np.ndarray
    trace: int
    tokens: list[bytes] = field(default_factory=list)
    level: str | None = None
    task: dict[str, Any] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """Plain values and arrays for a checkpoint."""
        return {
            "first_episode": self.first_episode,
            "episode": self.episode,
            "actions": self.actions,
            "trace": self.trace,
            "tokens": [np.frombuffer(token, dtype=np.uint8) for token in self.tokens],
            "level": self.level,
            "task": self.task,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> SlotState:
        """The inverse of `to_plain`."""
        return cls(
            int(plain["first_episode"]),
            int(plain["episode"]),
            np.asarray(plain["actions"]),
            int(plain["trace"]),
            [np.asarray(token).tobytes() for token in plain["tokens"]],
            plain["level"],
            dict(plain.get("task") or {}),
        )


class ActionLog:
    """Actions since an environment was truly reset, in one array that grows."""

    def __init__(self) -> None:
        self._rows: np.ndarray | None = None
        self._count = 0

    def append(self, action: Any) -> None:
        """Keep a copy of an action."""
        if self._rows is None or self._count == len(self._rows):
            self._grow(np.asarray(action))
        self._rows[self._count] = action  # type: ignore[index]
        self._count += 1

    def _grow(self, action: np.ndarray) -> None:
        grown = np.empty((max(2 * self._count, 64), *action.shape), dtype=action.dtype)
        if self._rows is not None:
            grown[: self._count] = self._rows
        self._rows = grown

    def clear(self) -> None:
        """Forget all."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def array(self) -> np.ndarray:
        """A copy, [steps, ...]."""
        return np.zeros(0) if self._rows is None or self._count == 0 else self._rows[: self._count].copy()
