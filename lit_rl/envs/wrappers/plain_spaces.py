"""Observations and actions between the environment's own spaces and the plain ones that networks take."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from lit_rl.envs.spaces import own_action, plain_action_space, plain_obs, plain_space


class PlainSpaces(gym.Wrapper[Any, Any, Any, Any]):
    """Shows observations in their plain space and takes actions of theirs; see `envs.spaces`."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._observation, self._action = env.observation_space, env.action_space
        self.observation_space = plain_space(self._observation)
        self.action_space = plain_action_space(self._action)
        self._shows_other = self.observation_space is not self._observation
        self._takes_other = self.action_space is not self._action

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        return (plain_obs(obs, self._observation) if self._shows_other else obs), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        own = own_action(action, self._action) if self._takes_other else action
        obs, reward, terminated, truncated, info = self.env.step(own)
        shown = plain_obs(obs, self._observation) if self._shows_other else obs
        return shown, reward, terminated, truncated, info


def needs_plain(env: gym.Env[Any, Any]) -> bool:
    """Whether a space of `env` is not one that networks take as it is."""
    observation, action = env.observation_space, env.action_space
    return plain_space(observation) is not observation or plain_action_space(action) is not action
