"""Small environments for tests, named by `class_path: tests.helpers.envs.<class>`.

Importable from the project's root, so that worker processes find them.
"""

from __future__ import annotations

import copy
import ctypes
import os
import random
import signal
import sys
import time
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from lit_rl.envs.examples.reach import Reach  # noqa: F401
from tests.helpers.walks import (  # noqa: F401  the others are named by their path here
    BoxWalk,
    DictWalk,
    MultiBinaryWalk,
    MultiDiscreteWalk,
    Noisy,
    NoisyBox,
    NoisyBoxDict,
    NoisyDict,
    NoisyMultiBinary,
    NoisyMultiDiscrete,
    SmallImages,
    Walk,
)

PATH = "tests.helpers.envs."


class SamplesActions(Walk):
    """Replaces every third action with one sampled from its own action space."""

    def move(self, action):
        return super().move(self.action_space.sample() if self.steps % 3 == 0 else action)


class NoiseWrapper(gym.ObservationWrapper):
    """Adds noise drawn from the environment's generator, through the wrapper's `np_random`."""

    def __init__(self, env, scale=0.1):
        super().__init__(env)
        self.scale = scale

    def observation(self, observation):
        return (observation + self.scale * self.np_random.normal(size=observation.shape)).astype(np.float32)


class CarriesState(Walk):
    """Remembers how many steps it was played since it was made, and lets it be seen in the observation."""

    def __init__(self):
        super().__init__()
        self.age = 0

    def step(self, action):
        self.age += 1
        return super().step(action)

    def _obs(self):
        return super()._obs() + np.float32(1e-3 * self.age)


class GlobalNoise(Walk):
    """Draws from NumPy's global stream, which no seed of ours reaches."""

    def move(self, action):
        return super().move(action) + 0.1 * np.random.normal()  # noqa: NPY002  (the point of it)


class GlobalStand(Walk):
    """Never ends of itself, so episodes are as long as the time limit; noise as in `GlobalNoise`."""

    def move(self, action):
        return 1e-3 * np.random.normal()  # noqa: NPY002


class HidesGlobal(Noisy):
    """Draws from NumPy's and Python's global streams at resets and in steps, and shows nothing of it."""

    def reset(self, *, seed=None, options=None):
        np.random.random(3)  # noqa: NPY002
        return super().reset(seed=seed)

    def step(self, action):
        random.random()
        np.random.normal()  # noqa: NPY002
        return super().step(action)


class ReusesBuffer(Walk):
    """Returns the same array from every step and reset, overwritten in place."""

    def __init__(self):
        super().__init__()
        self._buffer = np.zeros(2, dtype=np.float32)

    def _obs(self):
        self._buffer[:] = super()._obs()
        return self._buffer


class SendsBad(Walk):
    """Sends `value` as `what` ("obs", "reward", "reset"), or half an observation ("shape"), at step `at`."""

    def __init__(self, what="obs", value=float("nan"), at=3, last=False):
        super().__init__()
        self.what, self.value, self.at, self.last = what, float(value), at, last

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        if self.what == "reset":
            obs[0] = self.value
        return obs, info

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if self.steps == self.at:
            if self.what == "obs":
                obs[1] = self.value
            elif self.what == "shape":
                obs = obs[:1]
            elif self.what == "reward":
                reward = self.value
            truncated = self.last
        return obs, reward, terminated, truncated, info


class DoubleBox(Walk):
    """float64 actions and observations."""

    actions = spaces.Box(-0.5, 0.5, (1,), np.float64)

    def move(self, action):
        assert action.dtype == np.float64
        return action[0]


class Integers(Walk):
    """Actions of a narrow integer type; overflow shows which type arrives."""

    actions = spaces.MultiBinary(2)

    def move(self, action):
        with np.errstate(over="ignore"):
            return 0.001 * float((action * np.int8(100) + action * np.int8(100)).sum())


class Fails(Walk):
    """Fails at step `at` of an episode (0: at the reset), in the way `how` says.

    "raise", "exit" (its process ends with 3), "segfault", "kill" (by SIGKILL) or "hang". The first look at an
    environment happens in the trainer's process (id `home`): it fails in others only.

    Args:
        only: the action that does it; any action, where there is none.
        once: a file; where there is one, it is made, and nothing fails once it is there.
        stderr: written to standard error before.
    """

    def __init__(self, how="raise", at=2, home=0, only=None, once=None, stderr=None):
        super().__init__()
        self.how, self.at, self.home, self.only, self.once, self.stderr = how, at, home, only, once, stderr

    def _fail(self):
        if os.getpid() == self.home or (self.once is not None and os.path.exists(self.once)):
            return
        if self.once is not None:
            open(self.once, "x").close()
        if self.stderr is not None:
            print(self.stderr, file=sys.stderr)
        if self.how == "exit":
            os._exit(3)
        if self.how == "segfault":
            ctypes.string_at(0)
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "hang":
            time.sleep(600)
        raise RuntimeError("the walls fell down")

    def reset(self, *, seed=None, options=None):
        if self.at == 0:
            self._fail()
        return super().reset(seed=seed, options=options)

    def step(self, action):
        if self.steps + 1 == self.at and self.only in (None, int(action)):
            self._fail()
        return super().step(action)


class FailsToBegin(Noisy):
    """Raises in some of its resets and some of its steps, by its own seed: in every process at the same places.

    Args:
        seconds: how long a reset takes.
    """

    def __init__(self, seconds=0.0):
        super().__init__()
        self.seconds = seconds

    def reset(self, *, seed=None, options=None):
        time.sleep(self.seconds)
        obs, info = super().reset(seed=seed)
        if self.np_random.random() < 0.4:
            raise RuntimeError("no beginning")
        return obs, info

    def step(self, action):
        if self.np_random.random() < 0.1:
            raise RuntimeError("no end")
        return super().step(action)


class Slow(Walk):
    """Every step takes some seconds."""

    def __init__(self, seconds=0.1):
        super().__init__()
        self.seconds = seconds

    def step(self, action):
        time.sleep(self.seconds)
        return super().step(action)


class NoisyFails(Fails):
    """The same with noise from its own generator; seeds matter."""

    def move(self, action):
        return super().move(action) + 0.1 * self.np_random.normal()


class SendsInvalid(DictWalk):
    """Sends what is none of its space: `what` at step `at` of an episode (0: at the reset).

    Of observations: "shape", "kind", "text", "large", "missing", "no dict". Of rewards: "reward" (two
    numbers), "no reward".
    """

    def __init__(self, what="shape", at=2):
        super().__init__()
        self.what, self.at = what, at

    def _obs(self):
        obs = super()._obs()
        if self.steps != self.at:
            return obs
        if self.what == "no dict":
            return obs["vector"]
        if self.what == "missing":
            del obs["parity"]
        invalid = {
            "shape": {"vector": np.zeros(3, np.float32)},
            "kind": {"image": obs["image"] + 0.5},
            "text": {"vector": np.array(["a", "b"])},
            "large": {"image": obs["image"] + np.full((36, 36, 3), 256)},
        }
        return obs | invalid.get(self.what, {})

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if self.steps == self.at and self.what == "reward":
            reward = np.zeros(2)
        elif self.steps == self.at and self.what == "no reward":
            reward = None
        return obs, reward, terminated, truncated, info


class TupleActions(Walk):
    actions = spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2)))


class TextObservations(Walk):
    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Dict({"a": spaces.Discrete(2), "words": spaces.Text(4)})


class StartsAtOne(Walk):
    actions = spaces.Discrete(3, start=1)


class Image(Walk):
    """An image of (12, 10, 3), channels last, that shows the position."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(0, 255, (40, 36, 3), np.uint8)

    def _obs(self):
        image = np.zeros((40, 36, 3), dtype=np.uint8)
        image[: self.steps + 1, :, 0] = 200
        image[:, self.steps, 2] = int(20 * (self.position + 5)) % 256
        return image


class GlobalPrize(Walk):
    """Draws from NumPy's and Python's global streams at every reset and step; shows it in an episode's last reward.

    So an episode in flight can be brought back, for nothing that it has shown so far depends on what was drawn.
    """

    def _draw(self):
        return np.random.normal() + random.random()  # noqa: NPY002

    def reset(self, *, seed=None, options=None):
        self._draw()
        return super().reset(seed=seed, options=options)

    def step(self, action):
        prize = self._draw()
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward + prize if terminated else reward, terminated, truncated, info


class ContextBandit(gym.Env):
    """One step an episode: the context is one of `n`, and the action that equals it earns 1, others 0."""

    def __init__(self, n=4):
        self.n = n
        self.observation_space = spaces.Box(0.0, 1.0, (n,), np.float32)
        self.action_space = spaces.Discrete(n)

    def _obs(self):
        self.context = int(self.np_random.integers(self.n))
        return np.eye(self.n, dtype=np.float32)[self.context]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._obs(), {}

    def step(self, action):
        reward = float(action == self.context)
        return self._obs(), reward, True, False, {}


class Aim(gym.Env):
    """One step an episode: the reward is minus the squared distance of the action to half the observation."""

    def __init__(self):
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.target = self.np_random.uniform(-1.0, 1.0)
        return np.array([self.target], dtype=np.float32), {}

    def step(self, action):
        reward = -float((action[0] - (0.8 * self.target + 0.5)) ** 2)
        return np.array([self.target], dtype=np.float32), reward, True, False, {}


class Sampled(gym.Env):
    """Sends samples of its own observation space, and insists on actions of its own action space.

    Args:
        spaces_of: a key of `SPACES`: its observation and action space.
        length: of an episode.
    """

    SPACES: ClassVar[dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]]] = {}

    def __init__(self, spaces_of: str, length: int = 7):
        self.observation_space, self.action_space = (copy.deepcopy(space) for space in self.SPACES[spaces_of])
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.steps += 1
        reward = float(np.sum(np.asarray(action, dtype=np.float64) % 7))
        return self.observation_space.sample(), reward, False, self.steps >= self.length, {}


class Endless(Walk):
    """Goes on for ever."""

    def step(self, action):
        obs, reward, _, _, info = super().step(action)
        return obs, reward, False, False, info
