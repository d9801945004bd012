"""What may not be an environment or a wrapper of one is refused by name, with what to use instead."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from lit_rl.envs.config import EnvConfig
from lit_rl.envs.make import make_vector
from lit_rl.errors import ConfigError
from tests.helpers import envs

HERE = f"{__name__}."


class Own(gym.wrappers.NormalizeReward):
    """A user's own."""


class WrapsItself(gym.Wrapper):
    def __init__(self) -> None:
        super().__init__(gym.wrappers.TimeLimit(gym.wrappers.NormalizeObservation(envs.Walk()), 9))


class Holds(envs.Walk):
    """Steps an environment inside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = gym.wrappers.NormalizeObservation(envs.Walk())


def vectorised_with_moments(num_envs: int) -> gym.vector.VectorEnv:
    return gym.wrappers.vector.NormalizeReward(NativeStart(num_envs, start=0))


def made(**kwargs: Any) -> gym.Env:
    return Own(envs.Walk(**kwargs))


def vectorised() -> gym.vector.VectorEnv:
    return gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")


def nothing(*args: Any) -> None:
    """Makes none."""


gym.register("Normalizes-v0", entry_point=WrapsItself)


def env(*wrappers: str, **settings: Any) -> EnvConfig:
    return EnvConfig(**(settings or {"id": "CartPole-v1"}), wrappers=list(wrappers))


VEC = "stable_baselines3.common.vec_env."


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            env("gymnasium.wrappers.FlattenObservation", "gymnasium.wrappers.NormalizeObservation"),
            r"env\.wrappers\[1\]\.class_path: NormalizeObservation keeps moments .* \{obs: true\} instead",
        ),
        (
            env("gymnasium.wrappers.NormalizeReward"),
            r"env\.wrappers\[0\]\.class_path: NormalizeReward keeps .*env\.normalize: \{reward: true\}",
        ),
        (env(HERE + "Own"), r"env\.wrappers\[0\]\.class_path: Own, a NormalizeReward, keeps .*\{reward: true\}"),
        (env(class_path=HERE + "WrapsItself"), r"env .*WrapsItself: NormalizeObservation keeps .*\{obs: true\}"),
        (env(class_path=HERE + "Holds"), r"env .*Holds: NormalizeObservation keeps"),
        (
            env(class_path=HERE + "vectorised_with_moments", backend="native"),
            r"env .*: NormalizeReward keeps .* use env\.normalize: \{reward: true\}",
        ),
        (env(class_path=HERE + "made"), r"env .*made: Own, a NormalizeReward, keeps"),
        (env(id="Normalizes-v0"), r"env Normalizes-v0: NormalizeObservation keeps"),
        (env(HERE + "made_around"), r"env CartPole-v1: NormalizeObservation keeps"),
        (
            env("gymnasium.wrappers.vector.NormalizeObservation"),
            r"NormalizeObservation is for vectorised environments, and these are single; use env\.normalize: \{obs",
        ),
        (env("gymnasium.wrappers.vector.RecordEpisodeStatistics"), r"is for vectorised .* or remove it"),
        (env(VEC + "VecNormalize"), r"VecNormalize is for vectorised .* env\.normalize: \{obs: true, reward: true\}"),
        (env(VEC + "VecFrameStack"), r"VecFrameStack is for vectorised .* use env\.frame_stack instead"),
        (env(VEC + "vec_transpose.VecTransposeImage"), r"VecTransposeImage is for vectorised .* or remove it"),
        (env(class_path=HERE + "vectorised"), r"env\.class_path: .* gives a SyncVectorEnv, .* env\.n_envs"),
        (env(class_path=HERE + "nothing"), r"env\.class_path: .*nothing gives a NoneType, which is no gymnasium\.Env"),
        (env(HERE + "nothing"), r"env\.wrappers\[0\]\.class_path: .*nothing gives a NoneType"),
    ],
)
def test_it_is_refused_with_what_to_use(config, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make_vector(config, 0, range(1))
    assert "\n" not in str(caught.value)
    assert "fresh_instance" not in str(caught.value)


def made_around(inner: gym.Env) -> gym.Env:
    return gym.wrappers.NormalizeObservation(inner)


class Wild(envs.Walk):
    """Observations beyond what its space says."""

    def __init__(self, high: float = 0.5) -> None:
        super().__init__()
        self.observation_space = spaces.Box(-high, high, (2,), np.float32)


def test_bounds_that_are_left_are_said_once(capsys):
    make_vector(EnvConfig(class_path=HERE + "Wild", n_envs=2, backend="sync"), 0, range(2))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"WARNING: env {HERE}Wild sends ")
    assert "where its space goes from -0.5 to 0.5; nothing that is learned depends on that." in line
    make_vector(EnvConfig(class_path=HERE + "Wild", kwargs={"high": np.inf}, frame_stack=2), 0, range(1))
    make_vector(EnvConfig(id="CartPole-v1"), 0, range(1))
    assert not capsys.readouterr().err


class NativeStart(gym.vector.VectorEnv):
    """Starts at 1."""

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int, start: int = 1, shape: tuple[int, ...] = (2,)) -> None:
        self.num_envs, self.shape = num_envs, shape
        self.single_observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.single_action_space = spaces.Discrete(2, start=start)
        self.observation_space = spaces.Box(-1.0, 1.0, (num_envs, 2), np.float32)

    def reset(self, **_: Any) -> Any:
        return np.zeros((self.num_envs, *self.shape), np.float32), {}


def test_native_environments_are_held_to_their_spaces():
    config = EnvConfig(class_path=HERE + "NativeStart", backend="native")
    with pytest.raises(
        ConfigError, match=r"native .* cannot take the action space Discrete\(2, start=1\).* use backend"
    ):
        make_vector(config, 0, range(2))
    config.kwargs = {"start": 0, "shape": (3,)}
    venv = make_vector(config, 0, range(2))
    with pytest.raises(Exception, match=r"the environments .* sent an observation of shape \(2, 3\), and its space"):
        venv.reset()
