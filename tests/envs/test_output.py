"""What an environment sends is looked at, at every reset and step, and named in one line before it is used."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentFailed, EnvironmentLost
from lit_rl.envs.make import make_vector
from lit_rl.envs.output import wrong_observation
from lit_rl.envs.sync import SyncVectorEnv
from lit_rl.errors import EXIT_CONFIG, ConfigError
from tests.helpers import envs

SPACES: dict[str, spaces.Space[Any]] = {
    "box": spaces.Box(-1.0, 1.0, (2,), np.float32),
    "discrete": spaces.Discrete(10, start=1),
    "counts": spaces.MultiDiscrete([[2, 3]], start=[[1, -1]]),
    "flags": spaces.MultiBinary(2),
    "dict": spaces.Dict({"robot.pos": spaces.Box(-1.0, 1.0, (1,), np.float32), "n": spaces.Discrete(2)}),
}
GOOD: dict[str, Any] = {
    "box": np.zeros(2, np.float32),
    "discrete": 10,
    "counts": np.array([[2, 1]]),
    "flags": np.array([0, 1], np.int8),
    "dict": {"robot.pos": np.zeros(1, np.float32), "n": 1},
}
SENT: dict[str, Any] = {}
"""What the next environment sends: `space`, `obs`, `reward`, `flags`, `values`, `first`."""


class Sends(gym.Env):
    """Sends what it is told to send, from its third step on."""

    def __init__(self) -> None:
        self.observation_space, self.action_space = SPACES[SENT.get("space", "box")], spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        good = GOOD[SENT.get("space", "box")]
        return SENT["first"](good) if "first" in SENT else (good, {})

    def step(self, action: Any) -> Any:
        self.t += 1
        if self.t != 3:
            return GOOD[SENT.get("space", "box")], 1.0, False, self.t > 4, {}
        if "values" in SENT:
            return SENT["values"]
        obs = SENT.get("obs", GOOD[SENT.get("space", "box")])
        return obs, SENT.get("reward", 1.0), *SENT.get("flags", (False, False)), {}


class OldReset(Sends):
    def reset(self) -> Any:  # type: ignore[override]
        return GOOD["box"]


gym.register("Sends-v0", entry_point=Sends, max_episode_steps=9)
CONFIG = EnvConfig(class_path=f"{__name__}.Sends", backend="sync")


@pytest.fixture(autouse=True)
def _nothing_told() -> None:
    SENT.clear()


BOX = GOOD["box"]
WRONG = [
    ({"space": "discrete", "obs": 11}, r"the observation 11, which is not in Discrete\(10, start=1\)"),
    ({"space": "discrete", "obs": 0}, r"the observation 0, which is not in Discrete"),
    ({"space": "discrete", "obs": np.array(12)}, r"the observation 12, which is not in Discrete"),
    ({"space": "discrete", "obs": 1.0}, r"an observation of type float64, and its space has int64"),
    ({"space": "counts", "obs": np.array([[3, 0]])}, r"the observation \[\[3, 0\]\], which is not in MultiDiscrete"),
    ({"space": "counts", "obs": [[1, -2]]}, r"the observation \[\[1, -2\]\], which is not in MultiDiscrete"),
    ({"space": "counts", "obs": np.array([1, 0])}, r"an observation of shape \(2,\), and its space has \(1, 2\)"),
    ({"space": "flags", "obs": np.array([0, 2], np.int8)}, r"the observation \[0, 2\], which is not in MultiBinary"),
    ({"space": "flags", "obs": [0, -1]}, r"the observation \[0, -1\], which is not in MultiBinary"),
    ({"space": "dict", "obs": {"n": 1}}, r"an observation without 'robot\.pos'"),
    (
        {"space": "dict", "obs": {**GOOD["dict"], "more": 1}},
        r"an observation with 'more', which its space has not",
    ),
    (
        {"space": "dict", "obs": {**GOOD["dict"], "n": 2}},
        r"the observation 2, which is not in Discrete\(2\), in 'n'",
    ),
    ({"space": "dict", "obs": BOX}, r"an observation that is a ndarray, and its space is a Dict"),
    ({"obs": None}, r"an observation of type NoneType \(object\), and its space has float32"),
    ({"obs": "left"}, r"an observation of type str"),
    ({"obs": np.zeros(2, np.complex64)}, r"an observation of type ndarray \(complex64\)"),
    ({"reward": None}, r"a reward that is no number: NoneType None"),
    ({"reward": np.zeros(2)}, r"a reward that is no number: ndarray array\(\[0\., 0\.\]\)"),
    ({"reward": np.zeros(0)}, r"a reward that is no number: ndarray"),
    ({"reward": [1.0]}, r"a reward that is no number: list \[1\.0\]"),
    ({"reward": 1j}, r"a reward that is no number: complex 1j"),
    ({"reward": "1"}, r"a reward that is no number: str '1'"),
    ({"flags": (np.array([False, True]), False)}, r"a value of terminated that is neither true nor false: array\("),
    ({"flags": (False, None)}, r"a value of truncated that is neither true nor false: None"),
    ({"flags": ("no", False)}, r"a value of terminated that is neither true nor false: 'no'"),
    ({"flags": (False, 2)}, r"a value of truncated that is neither true nor false: 2"),
    ({"values": (BOX, 1.0, False, {})}, r"4 values from step\(\), as environments of the old gym do; gymnasium's"),
    ({"values": None}, r"what step\(\) does not give \(cannot unpack non-iterable NoneType object\); gymnasium's"),
    ({"values": (BOX, 1.0, False, False, {}, 1)}, r"what step\(\) does not give \(too many values"),
]


@pytest.mark.parametrize(("sent", "message"), WRONG)
@pytest.mark.parametrize("backend", ["sync", "auto"])
def test_seen_before_the_run_it_is_a_mistake_of_one_line(sent, message, backend):
    SENT.update(sent)
    config = EnvConfig(class_path=CONFIG.class_path, backend=backend)
    with pytest.raises(
        ConfigError, match=rf"^environment 0 \(.*Sends\) sent {message}.* in episode 0, step 3\."
    ) as caught:
        make_vector(config, 0, range(1))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == EXIT_CONFIG


@pytest.mark.parametrize(("sent", "message"), WRONG)
def test_seen_in_the_run_it_ends_it(sent, message):
    SENT.update(space=sent.get("space", "box"))
    venv = make_vector(CONFIG, 0, range(1))
    SENT.update(sent)
    venv.reset()
    for _ in range(2):
        venv.step(np.zeros(1, np.int64))
    with pytest.raises(
        EnvironmentFailed, match=rf"^environment 0 .* sent {message}.* in episode 0, step 3\."
    ) as caught:
        venv.step(np.zeros(1, np.int64))
    assert not isinstance(caught.value, EnvironmentLost)


def test_below_gymnasiums_own_wrappers_too():
    SENT.update(values=(BOX, 1.0, False, {}))
    with pytest.raises(ConfigError, match=r"sent 4 values from step\(\), as environments of the old gym do"):
        make_vector(EnvConfig(id="Sends-v0"), 0, range(1))


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (lambda obs: obs, r"a ndarray from reset\(\) \(gymnasium's reset\(\) gives observation, info: a dict\)"),
        (lambda obs: (obs, None), r"an info that is a NoneType from reset\(\)"),
        (lambda obs: (obs, {}, 1), r"3 values from reset\(\)"),
        (lambda obs: None, r"a NoneType from reset\(\)"),
        (lambda obs: (obs[:1], {}), r"an observation of shape \(1,\), and its space has \(2,\)"),
    ],
)
def test_a_reset_gives_two_values(first, message):
    SENT.update(first=first)
    with pytest.raises(ConfigError, match=rf"^environment 0 .* sent {message}.* in the reset of episode 0\."):
        make_vector(CONFIG, 0, range(1))


def test_a_reset_takes_a_seed():
    with pytest.raises(
        ConfigError, match=r"sent no first observation: .*unexpected keyword argument 'seed' \(gymnasium"
    ):
        make_vector(EnvConfig(class_path=f"{__name__}.OldReset"), 0, range(1))


class Careless(envs.Walk):
    def step(self, action: Any) -> Any:
        one, two, three = (1, 2)  # type: ignore[misc]
        return one, two, three


def test_an_environments_own_unpacking_stays_its_own_error():
    with pytest.raises(EnvironmentLost, match=r"raised ValueError: not enough values to unpack \(expected 3, got 2\)"):
        make_vector(EnvConfig(class_path=f"{__name__}.Careless"), 0, range(1))


@pytest.mark.parametrize(
    "reward", [np.array([1.0]), np.array([[1]], np.int8), np.float32(1), torch.ones(1), np.True_, 1]
)
@pytest.mark.parametrize("flags", [(False, False), (np.False_, np.array([False])), (0, np.int64(0))])
def test_what_means_one_number_or_flag_works_as_it(reward, flags):
    SENT.update(reward=reward, flags=flags)
    venv = make_vector(CONFIG, 0, range(1))
    venv.reset()
    results = [venv.step(np.zeros(1, np.int64)) for _ in range(5)]
    assert results[-1].truncated.tolist() == [True]
    (episode,) = results[-1].episodes
    assert (episode.ret, episode.length) == (5.0, 5)


@pytest.mark.parametrize("name", SPACES)
def test_what_is_of_the_space_passes(name):
    assert wrong_observation(GOOD[name], SPACES[name]) is None
    for _ in range(20):
        assert wrong_observation(SPACES[name].sample(), SPACES[name]) is None


def test_wrappers_of_the_users_are_held_to_the_same():
    wrapped = EnvConfig(class_path=CONFIG.class_path, wrappers=[f"{__name__}.Bad"])
    venv = SyncVectorEnv(wrapped, 0, range(1))
    venv.reset()
    with pytest.raises(EnvironmentFailed, match=r"a reward that is no number: NoneType None in episode 0, step 1"):
        venv.step(np.zeros(1, np.int64))


class Bad(gym.RewardWrapper):
    def reward(self, reward: Any) -> Any:
        return None
