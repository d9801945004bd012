"""The arrays that trainer and workers share, and the commands between them."""

from __future__ import annotations

import ctypes
import multiprocessing as mp
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.envs.block import Arrays
from lit_rl.envs.masks import choices
from lit_rl.envs.parallel.line import NUMBERS

STEP, RESET, CAPTURE, RESTORE, ASSIGN, ANEW, AGAIN, CLOSE = b"s", b"r", b"c", b"b", b"l", b"a", b"m", b"x"
"""What the trainer asks for."""
NOTHING, EVENTS, FAILED, REFUSED, LOST = b"n", b"e", b"f", b"u", b"o"
"""What a worker answers."""
IDLE = -1


@dataclass
class SharedArrays(Arrays):
    """At an environment's position what belongs to it, and at the first of a worker's what belongs to the worker.

    Args:
        action: [N, ...] as the environments take them.
        at_work: int64 [N], position of the environment that a worker is busy with, or `IDLE`.
        progress: int64 [N], grows with everything that an environment of a worker has done.
        allowed: int64 [1], how many restarts there may be in a step.
    """

    action: np.ndarray
    at_work: np.ndarray
    progress: np.ndarray
    allowed: np.ndarray


@dataclass
class Layout:
    """The shared arrays, as raw shared memory that can be handed to a spawned process.

    `lines` are the numbers of each worker's line, beginning at its first position.
    """

    obs: Any
    action: Any
    reward: Any
    terminated: Any
    truncated: Any
    episode: Any
    level: Any
    mask: Any
    resting: Any
    at_work: Any
    progress: Any
    allowed: Any
    lines: Any
    n_envs: int
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]

    @classmethod
    def allocate(
        cls, n_envs: int, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], masks: bool = False
    ) -> Layout:
        context = mp.get_context("spawn")

        def raw(space: spaces.Space[Any]) -> Any:
            if isinstance(space, spaces.Dict):
                return {key: raw(part) for key, part in space.spaces.items()}
            size = int(np.prod(space.shape or ())) * np.dtype(space.dtype).itemsize * n_envs
            return context.RawArray(ctypes.c_uint8, max(size, 1))

        return cls(
            obs=raw(observation_space),
            action=raw(action_space),
            reward=context.RawArray(ctypes.c_double, n_envs),
            terminated=context.RawArray(ctypes.c_bool, n_envs),
            truncated=context.RawArray(ctypes.c_bool, n_envs),
            episode=context.RawArray(ctypes.c_int64, [-1] * n_envs),
            level=context.RawArray(ctypes.c_int64, n_envs),
            mask=context.RawArray(ctypes.c_bool, n_envs * sum(choices(action_space))) if masks else None,
            resting=context.RawArray(ctypes.c_bool, n_envs),
            at_work=context.RawArray(ctypes.c_int64, [IDLE] * n_envs),
            progress=context.RawArray(ctypes.c_int64, n_envs),
            allowed=context.RawArray(ctypes.c_int64, 1),
            lines=context.RawArray(ctypes.c_int64, NUMBERS * n_envs),
            n_envs=n_envs,
            observation_space=observation_space,
            action_space=action_space,
        )

    def arrays(self) -> SharedArrays:
        def view(raw: Any, space: spaces.Space[Any]) -> Any:
            if isinstance(space, spaces.Dict):
                return {key: view(raw[key], part) for key, part in space.spaces.items()}
            shape = (self.n_envs, *(space.shape or ()))
            return np.frombuffer(raw, dtype=space.dtype, count=int(np.prod(shape))).reshape(shape)

        return SharedArrays(
            obs=view(self.obs, self.observation_space),
            action=view(self.action, self.action_space),
            reward=np.frombuffer(self.reward, dtype=np.float64),
            terminated=np.frombuffer(self.terminated, dtype=np.bool_),
            truncated=np.frombuffer(self.truncated, dtype=np.bool_),
            episode=np.frombuffer(self.episode, dtype=np.int64),
            level=np.frombuffer(self.level, dtype=np.int64),
            mask=None if self.mask is None else np.frombuffer(self.mask, dtype=np.bool_).reshape(self.n_envs, -1),
            resting=np.frombuffer(self.resting, dtype=np.bool_),
            at_work=np.frombuffer(self.at_work, dtype=np.int64),
            progress=np.frombuffer(self.progress, dtype=np.int64),
            allowed=np.frombuffer(self.allowed, dtype=np.int64),
        )
