"""Small environments whose levels can be seen in what they send."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium import spaces

PATH = "tests.helpers.levels."


class Limited(gym.Env):
    """Ends after `limit` steps. Observation: the limit of the episode, and noise. Reward 1 a step, success always.

    A new limit takes effect at the next reset.
    """

    def __init__(self, limit=3, extra=0):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2 + extra,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.limit = limit

    def set_level(self, limit):
        self.limit = limit

    def _obs(self):
        obs = np.zeros(self.observation_space.shape, np.float32)
        obs[:2] = self.length, self.np_random.normal()
        return obs

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length, self.steps = self.limit, 0
        return self._obs(), {}

    def step(self, action):
        self.steps += 1
        over = self.steps >= self.length
        return self._obs(), 1.0, over, False, {"is_success": over}


class Lives(gym.Wrapper):
    """Ends an episode at every second step; only a game that is over is truly reset."""

    def __init__(self, env):
        super().__init__(env)
        self.over = True

    def reset(self, **kwargs):
        if self.over:
            self.steps, self.over = 0, False
            return self.env.reset(**kwargs)
        return self.obs, {}

    def step(self, action):
        self.obs, reward, terminated, truncated, info = self.env.step(action)
        self.steps += 1
        self.over = terminated or truncated
        return self.obs, reward, terminated or self.steps % 2 == 0, truncated, info


class Cut(gym.Wrapper):
    """Cuts an episode off after `after` steps, as a time limit above all other wrappers does."""

    def __init__(self, env, after):
        super().__init__(env)
        self.after = after

    def reset(self, **kwargs):
        self.steps = 0
        return self.env.reset(**kwargs)

    def step(self, action):
        self.steps += 1
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated, truncated or self.steps >= self.after, info


class Labelled(Limited):
    """Wants its label as a word."""

    def __init__(self, limit=3, label=""):
        super().__init__(limit)
        assert isinstance(label, str)
        self._label = label

    @property
    def label(self):
        return self._label

    @label.setter
    def label(self, value):
        assert isinstance(value, str), f"{value!r} is no word"
        self._label = value


class Named(gym.Wrapper):
    """Wants its name as a word."""

    def __init__(self, env, name):
        super().__init__(env)
        assert isinstance(name, str), f"{name!r} is no word"


class Chance(gym.Env):
    """Succeeds by chance, the less often the harder it is; over after a few steps. Shows `hardness`, and noise."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, hardness=0.0, base=2):
        self.hardness, self.base, self.wind = hardness, base, 0.0

    def set_level(self, hardness):
        self.hardness = hardness

    def _obs(self):
        return np.array([self.now, self.np_random.normal() + self.wind], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.now, self.left = self.hardness, self.base + int(self.np_random.integers(4))
        return self._obs(), {"wind": self.wind}

    def step(self, action):
        self.left -= 1
        over = self.left <= 0
        success = over and bool(self.np_random.random() < 0.1 * action + 1.0 / (1.0 + self.now))
        return self._obs(), float(success), over, False, {"is_success": success}


class Careless(gym.Env):
    """Draws from NumPy's global stream, reports a lost life at every seventh step, and is over after 30."""

    observation_space = spaces.Box(-10.0, 10.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, hardness=0.0):
        self.hardness = hardness

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.array([np.random.rand()], np.float32), {}  # noqa: NPY002

    def step(self, action):
        self.steps += 1
        obs = np.array([np.random.rand() + self.hardness], np.float32)  # noqa: NPY002
        return obs, float(action), self.steps >= 30, False, {"is_success": bool(action)}


class SevenStepLives(Lives):
    """The same as `Lives`, with a life of seven steps."""

    def step(self, action):
        self.obs, reward, terminated, truncated, info = self.env.step(action)
        self.steps += 1
        self.over = terminated or truncated
        return self.obs, reward, terminated or self.steps % 7 == 0, truncated, info
