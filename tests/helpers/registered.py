"""Registers an environment when it is imported, for ids of the form `module:Id`."""

import gymnasium as gym

gym.register("Registered-v0", "tests.helpers.envs:Walk", max_episode_steps=9)
