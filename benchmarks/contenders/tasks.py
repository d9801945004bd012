"""Environments that gymnasium does not have, named `contenders.tasks:Id`, by which it imports this file."""

from __future__ import annotations

import gymnasium as gym

from lit_rl.envs.wrappers.hidden import Hidden


def cartpole_without_velocities() -> gym.Env:
    return Hidden(gym.make("CartPole-v1"), [1, 3])


gym.register("CartPoleNoVel-v1", entry_point=cartpole_without_velocities)
gym.register("Tour-v0", entry_point="lit_rl.envs.examples.tour:Tour")
