"""The innermost wrapper: return and length of each episode, and where it began.

It sits right above the environment, below every wrapper of the run, as SB3's Monitor does: the returns it reports
are the task's own, not clipped, scaled or cut at a lost life.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from lit_rl.data.episode import Episode
from lit_rl.data.task import Task
from lit_rl.envs.failures import InvalidOutput
from lit_rl.envs.output import as_number, check_flags, first_observation, step_error


class EpisodeStart(Protocol):
    """How an environment whose seeding is expensive begins an episode from a stored state instead."""

    def capture(self, env: gym.Env[Any, Any]) -> bytes:
        """The state right after a reset."""

    def restore(self, env: gym.Env[Any, Any], token: bytes) -> Any:
        """Put a just reset environment into a captured state; returns its observation."""


class EpisodeMonitor(gym.Wrapper[Any, Any, Any, Any]):
    """Counts an episode's return and length, and says when the environment below was truly reset.

    Args:
        env: the environment itself, with its time limit.
        env_index: its environment index.
        start: set where reseeding is expensive: only the first episode is then seeded through the environment; later
            ones go on with its generator, and a token of each start is kept so that the episode can be brought back.
    """

    longest: int | None = None
    """Steps after which an episode is cut off."""

    def __init__(self, env: gym.Env[Any, Any], env_index: int, start: EpisodeStart | None = None) -> None:
        super().__init__(env)
        self._env_index = env_index
        self._start = start
        self._seeded = False
        self._ret = 0.0
        self._length = 0
        self.began = False
        """Set by every reset of the environment below; whoever reads it clears it."""
        self.over = True
        """No episode is going on below: the next reset begins one."""
        self.task = Task()
        """What the curriculum gave to the episode going on; set before the reset that begins it."""
        self.shown: np.ndarray | None = None
        """What of it stands in the observation, [K]; `None` for nothing."""
        self.finished: list[Episode] = []
        """Episodes that ended since the list was last emptied."""
        self.tokens: list[bytes] = []
        """Start states since the list was last emptied, one a reset."""
        self.replay_tokens: list[bytes] = []
        """Start states the coming resets have to take."""

    @property
    def starts_by_token(self) -> bool:
        """Whether episodes begin from stored states, so that their seeds mean nothing after the first."""
        return self._start is not None

    @property
    def ret(self) -> float:
        """Return of the episode so far."""
        return self._ret

    @property
    def length(self) -> int:
        """Steps of the episode so far."""
        return self._length

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.began, self.over = True, False
        self._ret, self._length = 0.0, 0
        if self._start is None:
            return first_observation(self._reset(seed, options))
        obs, info = first_observation(self._reset(None if self._seeded else seed, options))
        if seed is not None:
            self._seeded = True
            self.unwrapped.np_random = gym.utils.seeding.np_random(seed)[0]
        if self.replay_tokens:
            obs = self._start.restore(self.env, self.replay_tokens.pop(0))
        self.tokens.append(self._start.capture(self.env))
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        try:
            obs, reward, terminated, truncated, info = self.env.step(action)
        except (ValueError, TypeError) as error:
            raise step_error(error)  # noqa: B904  often the same one
        self._ret += reward if type(reward) is float else as_number(reward)
        if terminated is not False or truncated is not False:
            check_flags(terminated, truncated)
        self._length += 1
        cut = self._length == self.longest and not (terminated or truncated)
        if terminated or truncated or cut:
            self.over, truncated = True, truncated or cut
            self.finished.append(self._episode(_success(info), cut))
        return obs, reward, terminated, truncated, info

    def _episode(self, success: bool | None, cut: bool) -> Episode:
        task = None if self.task.is_level_alone else self.task
        return Episode(self._env_index, self._ret, self._length, success, self.task.level, cut, task)

    def _reset(self, seed: int | None, options: dict[str, Any] | None) -> Any:
        try:
            return self.env.reset(seed=seed, options=options)
        except TypeError as error:
            if "reset() got an unexpected keyword argument" not in str(error):
                raise
            raise InvalidOutput(
                f"no first observation: {error} (gymnasium's is reset(self, *, seed=None, options=None))"
            ) from None


def _success(info: Mapping[str, Any]) -> bool | None:
    """What the environment says at the end, by SB3's name or by that of gymnasium-robotics and others."""
    value = info.get("is_success", info.get("success")) if isinstance(info, Mapping) else None
    return None if value is None else bool(value)
