"""Atari: seeding loads the ROM again (some 90 ms), so an episode begins from the emulator's own state."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


class AleStart:
    """Start states of an `ale_py` environment: the emulator's state with its random generator, about 14 KB."""

    def capture(self, env: gym.Env[Any, Any]) -> bytes:
        state: bytes = _ale(env).cloneState(include_rng=True).__getstate__()
        return state

    def restore(self, env: gym.Env[Any, Any], token: bytes) -> Any:
        from ale_py import ALEState

        _ale(env).restoreState(ALEState(token))
        return env.unwrapped._get_obs()  # type: ignore[attr-defined]


def _ale(env: gym.Env[Any, Any]) -> Any:
    return env.unwrapped.ale  # type: ignore[attr-defined]


def is_atari(env: gym.Env[Any, Any]) -> bool:
    """Whether `env` is an Arcade Learning Environment."""
    return type(env.unwrapped).__module__.startswith("ale_py.")
