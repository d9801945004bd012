"""Playing our environments, and the same ones through stable-baselines3's vector environments."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv

from lit_rl.envs.flight import SlotState
from lit_rl.envs.probe import random_action
from lit_rl.envs.sync import SyncVectorEnv


def actions_of(space, n_envs, steps, seed=0):
    """Random actions, [steps][n_envs, ...]."""
    rng = np.random.default_rng(seed)
    return [np.stack([random_action(space, rng) for _ in range(n_envs)]) for _ in range(steps)]


def sb3_vector(env_class, n_envs, max_episode_steps=None):
    """The same environments under SB3's DummyVecEnv."""

    def make():
        env = env_class()
        return env if max_episode_steps is None else gym.wrappers.TimeLimit(env, max_episode_steps)

    return DummyVecEnv([make] * n_envs)


def sync(config, run_seed=0):
    return SyncVectorEnv(config, run_seed, range(config.n_envs))


def frozen(tree):
    """A copy of observations that later steps do not overwrite."""
    return {k: np.array(v) for k, v in tree.items()} if isinstance(tree, dict) else np.array(tree)


def as_bytes(tree):
    if isinstance(tree, dict):
        return {key: as_bytes(part) for key, part in tree.items()}
    array = np.asarray(tree)
    return array.dtype.str, array.shape, array.tobytes()


def record(result):
    """Everything in a step's result, for comparing to the bit."""
    return (
        as_bytes(result.obs),
        as_bytes(result.reward),
        as_bytes(result.terminated),
        as_bytes(result.truncated),
        [(row, as_bytes(final)) for row, final in result.finals],
        list(result.episodes),
    )


def through_a_checkpoint(state):
    """A slot's state as it comes out of a file."""
    return SlotState.from_plain(state.to_plain())
