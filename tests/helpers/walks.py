"""Walks on a line: small environments for every kind of space, with and without noise of their own."""

from __future__ import annotations

import copy

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Walk(gym.Env):
    """A walk on a line, the same whatever the seed: what happens depends on the actions alone.

    Observation: position and 0.1 times the steps so far. Ends beyond 2.5 on either side. Reward: minus the
    distance to 1.
    """

    actions: spaces.Space = spaces.Discrete(3)

    def __init__(self):
        self.observation_space = spaces.Box(-10.0, 10.0, (2,), np.float32)
        self.action_space = copy.deepcopy(type(self).actions)  # each instance samples from its own

    def _obs(self):
        return np.array([self.position, 0.1 * self.steps], dtype=np.float32)

    def move(self, action):
        return 0.5 * (int(action) - 1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.steps = 0.0, 0
        return self._obs(), {}

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.position += float(self.move(action))
        self.steps += 1
        return self._obs(), -abs(self.position - 1.0), abs(self.position) > 2.5, False, {}


class BoxWalk(Walk):
    actions = spaces.Box(-0.6, 0.8, (2,), np.float32)

    def move(self, action):
        return action[0] - 0.5 * action[1]


class MultiDiscreteWalk(Walk):
    actions = spaces.MultiDiscrete([3, 4])

    def move(self, action):
        return 0.5 * (int(action[0]) - 1) + 0.1 * int(action[1])


class MultiBinaryWalk(Walk):
    actions = spaces.MultiBinary(3)

    def move(self, action):
        return 0.6 * int(action[0]) - 0.5 * int(action[1]) + 0.05 * int(action[2])


class DictWalk(Walk):
    """The same walk seen as a Dict of a vector, a number of a set, and a small image with channels last."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Dict(
            {
                "vector": spaces.Box(-10.0, 10.0, (2,), np.float32),
                "parity": spaces.Discrete(2),
                "image": spaces.Box(0, 255, (36, 36, 3), np.uint8),
            }
        )

    def _obs(self):
        image = np.full((36, 36, 3), self.steps, dtype=np.uint8)
        image[0, :, 1] = int(20 * (self.position + 5)) % 256
        return {"vector": super()._obs(), "parity": np.int64(self.steps % 2), "image": image}


class Noisy(Walk):
    """Moves and observations with noise from the environment's own generator; seeds matter."""

    def move(self, action):
        return super().move(action) + 0.1 * self.np_random.normal()


class NoisyBox(BoxWalk):
    def move(self, action):
        return super().move(action) + 0.1 * self.np_random.normal()


class NoisyMultiDiscrete(MultiDiscreteWalk):
    def move(self, action):
        return super().move(action) + 0.1 * self.np_random.normal()


class NoisyMultiBinary(MultiBinaryWalk):
    def move(self, action):
        return super().move(action) + 0.1 * self.np_random.normal()


class NoisyDict(DictWalk):
    def move(self, action):
        return super().move(action) + 0.1 * self.np_random.normal()


class NoisyBoxDict(NoisyBox):
    """The walk with a Box action, seen as a Dict of two vectors."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Dict(
            {"vector": self.observation_space, "steps": spaces.Box(0.0, 1.0, (1,), np.float32)}
        )

    def _obs(self):
        return {"vector": super()._obs(), "steps": np.array([self.steps / 100], np.float32)}


class SmallImages(Noisy):
    """The walk seen as a small image with channels last."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(0, 255, (36, 36, 1), np.uint8)

    def _obs(self):
        image = np.full((36, 36, 1), self.steps, dtype=np.uint8)
        image[0] = int(20 * (self.position + 5)) % 256
        return image
