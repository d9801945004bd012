"""Settings that stand in an agent's file as pickles: the known forms are read, and nothing is run."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common import noise as sb3_noise
from stable_baselines3.common.utils import FloatSchedule

from lit_rl.interop.sb3 import read_agent
from lit_rl.interop.serialized import action_noise, plain_value, schedule_function
from tests.interop.hostile import Touch

FREQUENCY = "stable_baselines3.common.type_aliases.TrainFreq"
CONSTANT = (  # `clip_range` of an agent of stable-baselines3 1.x: constant_fn(0.0007), pickled by cloudpickle
    Path(__file__).parents[1] / "data" / "sb3_functions" / "constant_fn.b64"
)


def packed(value: Any) -> str:
    return base64.b64encode(cloudpickle.dumps(value)).decode()


def linear_schedule(initial_value: float) -> Callable[[float], float]:
    """As in SB3's documentation; in a script of the user's it is pickled whole."""

    def func(progress_remaining: float) -> float:
        """Progress goes from 1 to 0."""
        return progress_remaining * initial_value

    return func


def other(initial_value: float) -> Callable[[float], float]:
    def func(progress_remaining: float) -> float:
        return progress_remaining**2 * initial_value

    func.__qualname__ = "linear_schedule.<locals>.func"
    return func


@pytest.fixture(autouse=True)
def whole() -> Any:
    """Functions of this file are pickled as those of a script are."""
    import tests.interop.test_serialized as own

    cloudpickle.register_pickle_by_value(own)
    yield
    cloudpickle.unregister_pickle_by_value(own)


def test_the_schedule_of_the_documentation() -> None:
    assert schedule_function(packed(linear_schedule(3e-4))) == "lin_0.0003"
    assert schedule_function(packed(other(3e-4))) is None
    assert schedule_function(packed(lambda progress: 1.0)) is None


def test_a_function_of_stable_baselines3_before_2_6() -> None:
    assert schedule_function(CONSTANT.read_text().strip()) == 0.0007
    assert schedule_function(CONSTANT.with_name("linear_schedule.b64").read_text().strip()) == "lin_0.2"
    read = schedule_function(CONSTANT.with_name("get_linear_fn.b64").read_text().strip())
    assert read == {"start": 1.0, "end": 0.04, "shape": "linear", "fraction": 0.16}


def test_what_stable_baselines3_makes_of_a_clip_range() -> None:
    """Up to 2.6 a function around it (the data are of 2.3.2), also where it is a number; since 2.7 an object."""
    assert schedule_function(CONSTANT.with_name("clip_range_constant.b64").read_text().strip()) == 0.2
    assert schedule_function(CONSTANT.with_name("clip_range_linear.b64").read_text().strip()) == "lin_0.3"
    assert schedule_function(packed(FloatSchedule(linear_schedule(3e-4)))) == "lin_0.0003"
    assert schedule_function(packed(FloatSchedule(other(3e-4)))) is None


def test_a_clip_range_that_is_a_function_is_a_setting(tmp_path: Path) -> None:
    PPO("MlpPolicy", "CartPole-v1", clip_range=linear_schedule(0.3), clip_range_vf=0.4).save(tmp_path / "agent.zip")
    settings = read_agent(tmp_path / "agent.zip").settings
    assert (settings["clip_range"], settings["clip_range_vf"]) == ("lin_0.3", 0.4)


@pytest.mark.parametrize("text", ["", "no base64!", base64.b64encode(b"\x80\x04.").decode(), "A" * (1 << 17)])
def test_what_is_no_pickle_is_nothing(text: str) -> None:
    assert schedule_function(text) is None
    assert plain_value("numpy.float32", text) is None
    assert action_noise(text) is None


def test_nothing_is_run(tmp_path: Path) -> None:
    """Also not in what looks like a known form."""
    mark = tmp_path / "touched"
    for value in (Touch(mark), {"__qualname__": "constant_fn.<locals>.func", "__closure__": Touch(mark), "x": 0.5}):
        text = base64.b64encode(pickle.dumps(value)).decode()
        assert schedule_function(text) is None
        assert plain_value(FREQUENCY, text) is None
        assert action_noise(text) is None
    assert not mark.exists()


def test_numbers_and_frequencies(tmp_path: Path) -> None:
    assert plain_value("numpy.float32", packed(np.float32(-1.5))) == -1.5
    assert plain_value("numpy.float32", packed(np.zeros(3))) is None
    for given, read in ((3, [3, "step"]), ((2, "episode"), [2, "episode"])):
        SAC("MlpPolicy", "Pendulum-v1", train_freq=given, buffer_size=10).save(tmp_path / "agent.zip")
        assert read_agent(tmp_path / "agent.zip").settings["train_freq"] == read


@pytest.mark.parametrize(
    ("noise", "read"),
    [
        (sb3_noise.NormalActionNoise(np.zeros(1), np.full(1, 0.3)), ("normal", 0.3)),
        (sb3_noise.OrnsteinUhlenbeckActionNoise(np.zeros(1), np.full(1, 0.2)), ("ornstein-uhlenbeck", 0.2)),
        (
            sb3_noise.VectorizedActionNoise(sb3_noise.NormalActionNoise(np.zeros(1), np.full(1, 0.1)), 2),
            ("normal", 0.1),
        ),
        (sb3_noise.NormalActionNoise(np.ones(1), np.full(1, 0.3)), None),
        (sb3_noise.NormalActionNoise(np.zeros(2), np.array([0.1, 0.2])), None),
        (sb3_noise.OrnsteinUhlenbeckActionNoise(np.zeros(1), np.full(1, 0.2), theta=0.3), None),
        (None, None),
    ],
)
def test_action_noise(tmp_path: Path, noise: Any, read: tuple[str, float] | None) -> None:
    TD3("MlpPolicy", "Pendulum-v1", action_noise=noise, buffer_size=10).save(tmp_path / "agent.zip")
    agent = read_agent(tmp_path / "agent.zip")
    found = agent.settings.get("noise_type"), agent.settings.get("noise_std")
    assert found == (read or (None, None))
    assert ("action_noise" in agent.not_read) == (noise is not None and read is None)
