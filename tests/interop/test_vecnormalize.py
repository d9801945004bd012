"""Moments of VecNormalize: exact in and out, and its pickle is not unpickled."""

from __future__ import annotations

import pickle
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from lit_rl.errors import ConfigError, DataError
from lit_rl.interop.export import write_vecnormalize
from lit_rl.interop.vecnormalize import Moments, VecNormalizeStats, find_vecnormalize, read_vecnormalize

from .hostile import Touch, evil_pickle


def pendulum_env() -> VecNormalize:
    env = VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")] * 2), gamma=0.9, clip_obs=5.0, epsilon=1e-6)
    env.seed(3)
    env.reset()
    env.action_space.sample()
    for _ in range(20):
        env.step(np.ones((2, 1), dtype=np.float32))
    return env


def same(left: Moments, right: RunningMeanStd | Moments) -> bool:
    equal = np.array_equal(left.mean, right.mean) and np.array_equal(left.var, right.var)
    return equal and left.count == right.count


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_what_sb3_writes(tmp_path: Path, protocol: int) -> None:
    env = pendulum_env()
    path = tmp_path / "vecnormalize.pkl"
    path.write_bytes(pickle.dumps(env, protocol))
    stats = read_vecnormalize(path)
    assert isinstance(stats.obs, Moments)
    assert same(stats.obs, env.obs_rms)
    assert same(stats.reward, env.ret_rms)
    assert (stats.gamma, stats.clip_obs, stats.clip_reward, stats.epsilon) == (0.9, 5.0, 10.0, 1e-6)
    assert (stats.norm_obs, stats.norm_reward) == (True, True)


def test_the_published_pickle(pendulum: Path) -> None:
    path, _ = find_vecnormalize(pendulum)
    assert path is not None
    stats = read_vecnormalize(path)
    assert isinstance(stats.obs, Moments)
    np.testing.assert_allclose(stats.obs.mean, [0.55492048, -0.00348621, 0.0864903], rtol=1e-5)
    np.testing.assert_allclose(stats.obs.var, [0.4731969, 0.21885421, 10.78050059], rtol=1e-5)
    assert stats.obs.count == 1000000.0001000001
    assert stats.reward.mean.shape == ()
    assert (stats.norm_obs, stats.norm_reward) == (True, False)


def test_every_published_pickle(published: Path) -> None:
    paths = sorted(published.glob("*/*/*/vecnormalize.pkl"))
    assert paths
    for path in paths:
        assert read_vecnormalize(path).reward.count > 1


def stats_for(obs: Moments | dict[str, Moments] | None) -> VecNormalizeStats:
    reward = Moments(np.asarray(1.5), np.asarray(2.25), 12.5)
    return VecNormalizeStats(obs, reward, 4.0, 3.0, 0.95, 1e-5, obs is not None, False)


MOMENTS = Moments(np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 4.0]), 7.0001)
SPACES = {
    "box": (gym.spaces.Box(-1, 1, (3,)), MOMENTS),
    "dict": (gym.spaces.Dict(a=gym.spaces.Box(-1, 1, (3,)), b=gym.spaces.Discrete(2)), {"a": MOMENTS}),
    "none": (gym.spaces.Discrete(3), None),
}


class SpacesOnly(gym.Env):
    def __init__(self, space: gym.Space) -> None:
        self.observation_space = space
        self.action_space = gym.spaces.Discrete(2)

    def reset(self, **kwargs: object) -> tuple[object, dict]:
        return self.observation_space.sample(), {}


@pytest.mark.parametrize("kind", SPACES)
def test_out_and_in_is_the_identity(tmp_path: Path, kind: str) -> None:
    space, obs = SPACES[kind]
    stats = stats_for(obs)
    path = tmp_path / "vecnormalize.pkl"
    write_vecnormalize(path, stats, space, gym.spaces.Discrete(2))
    again = read_vecnormalize(path)
    for left, right in ((stats, again), (again, stats)):
        assert same(left.reward, right.reward)
        if isinstance(left.obs, dict):
            assert isinstance(right.obs, dict)
            assert left.obs.keys() == right.obs.keys()
            assert all(same(left.obs[key], right.obs[key]) for key in left.obs)
        else:
            assert left.obs is right.obs is None or same(left.obs, right.obs)
    for name in ("clip_obs", "clip_reward", "gamma", "epsilon", "norm_obs", "norm_reward"):
        assert getattr(stats, name) == getattr(again, name)
    loaded = VecNormalize.load(str(path), DummyVecEnv([lambda: SpacesOnly(space)] * 3))
    assert loaded.num_envs == 3
    if kind == "box":
        obs_B = np.ones((2, 3))
        expected = np.clip((obs_B - MOMENTS.mean) / np.sqrt(MOMENTS.var + 1e-5), -4.0, 4.0)
        np.testing.assert_allclose(loaded.normalize_obs(obs_B), expected, rtol=1e-6)
    if kind == "dict":
        assert set(loaded.obs_rms) == {"a"}
    assert loaded.clip_reward == 3.0


def test_a_pickle_that_runs_code(tmp_path: Path, marker: Path) -> None:
    """As the whole pickle, as a value that SB3 would look at, and as one that nobody looks at."""
    path = tmp_path / "vecnormalize.pkl"
    variants = [evil_pickle(marker, protocol) for protocol in range(6)]
    for name in ("obs_rms", "clip_obs", "unknown"):
        env = pendulum_env()
        setattr(env, name, Touch(marker))
        variants.append(pickle.dumps(env))
    for data in variants:
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"vecnormalize\.pkl: refused .*; nothing was run"):
            read_vecnormalize(path)


def test_classes_of_others_are_named(tmp_path: Path) -> None:
    env = pendulum_env()
    env.observation_space = SpacesOnly  # a class of ours, where a space is expected
    path = tmp_path / "vecnormalize.pkl"
    path.write_bytes(pickle.dumps(env))
    with pytest.raises(DataError, match=r"test_vecnormalize\.SpacesOnly"):
        read_vecnormalize(path)


def change(**values: object) -> VecNormalize:
    env = pendulum_env()
    for name, value in values.items():
        setattr(env, name, value)
    return env


def moments(mean: object, var: object, count: object) -> RunningMeanStd:
    running = RunningMeanStd()
    running.mean, running.var, running.count = mean, var, count
    return running


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"obs_rms": moments(np.zeros(3), np.zeros(2), 1.0)}, "of shape"),
        ({"obs_rms": moments(np.zeros(3), -np.ones(3), 1.0)}, "no moments"),
        ({"obs_rms": moments(np.array([np.nan]), np.ones(1), 1.0)}, "no moments"),
        ({"obs_rms": moments(np.zeros(3), np.ones(3), 0.0)}, "no moments"),
        ({"obs_rms": moments("mean", np.ones(3), 1.0)}, "not a number or an array"),
        ({"obs_rms": None}, "no moments of observations"),
        ({"ret_rms": moments(np.zeros(3), np.ones(3), 1.0)}, "single numbers"),
        ({"gamma": "0.99"}, "gamma is not a number"),
        ({"gamma": float("nan")}, "gamma is not one number"),
        ({"norm_obs": 1}, "norm_obs is not true or false"),
    ],
)
def test_values_that_are_no_moments(tmp_path: Path, values: dict[str, object], text: str) -> None:
    path = tmp_path / "vecnormalize.pkl"
    path.write_bytes(pickle.dumps(change(**values)))
    with pytest.raises(DataError, match=text):
        read_vecnormalize(path)


def test_number_types(tmp_path: Path) -> None:
    path = tmp_path / "vecnormalize.pkl"
    fortran = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    env = change(obs_rms=moments(fortran, np.ones((2, 3), ">f4"), np.int64(3)), gamma=np.float32(0.5), clip_obs=3)
    for protocol in (4, 5):
        path.write_bytes(pickle.dumps(env, protocol))
        stats = read_vecnormalize(path)
        assert isinstance(stats.obs, Moments)
        assert stats.obs.mean.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
        assert stats.obs.var.tolist() == [[1.0] * 3] * 2
        assert (stats.obs.count, stats.gamma, stats.clip_obs) == (3.0, 0.5, 3.0)


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "vecnormalize.pkl"
    whole = pickle.dumps(pendulum_env())
    for data in (b"", pickle.dumps({"obs_rms": 1}), whole + b"x", whole[:-1], b"PK\x03\x04"):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"vecnormalize\.pkl"):
            read_vecnormalize(path)
    with pytest.raises(ConfigError, match="not there"):
        read_vecnormalize(tmp_path / "missing.pkl")
    with pytest.raises(ConfigError, match="local file"):
        read_vecnormalize("s3://bucket/vecnormalize.pkl")


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_changed_byte_never_raises_anything_else(tmp_path_factory: object, position: int, value: int) -> None:
    data = bytearray((Path(__file__).parents[1] / "data/sb3_a2c_pendulum/Pendulum-v1/vecnormalize.pkl").read_bytes())
    data[position % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "changed.pkl"  # type: ignore[attr-defined]
    path.write_bytes(data)
    try:
        stats = read_vecnormalize(path)
    except DataError as error:
        stats = None
        text = str(error)
    assert stats is not None or "\n" not in text


@pytest.mark.parametrize(
    ("agent", "stats"),
    [
        ("logs/rl_model_500_steps.zip", "logs/rl_model_vecnormalize_500_steps.pkl"),
        ("logs/my_run_500_steps.zip", "logs/my_run_vecnormalize_500_steps.pkl"),
        ("ppo/Env-v1_1/Env-v1.zip", "ppo/Env-v1_1/Env-v1/vecnormalize.pkl"),
        ("ppo/Env-v1_1/best_model.zip", "ppo/Env-v1_1/Env-v1/vecnormalize.pkl"),
        ("run/agent.zip", "run/agent_vecnormalize.pkl"),
        ("run/agent.zip", "run/vecnormalize.pkl"),
        ("run/agent.zip", "run/vec_normalize.pkl"),
    ],
)
def test_finding_the_pickle(tmp_path: Path, agent: str, stats: str) -> None:
    nothing, places = find_vecnormalize(tmp_path / agent)
    assert nothing is None
    assert tmp_path / stats in places
    (tmp_path / stats).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / stats).touch()
    assert find_vecnormalize(tmp_path / agent)[0] == tmp_path / stats


def test_moments_of_another_step_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "rl_model_vecnormalize_400_steps.pkl").touch()
    assert find_vecnormalize(tmp_path / "rl_model_500_steps.zip")[0] is None


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Discrete(3),
        gym.spaces.MultiDiscrete([2, 3]),
        gym.spaces.MultiBinary(3),
        gym.spaces.Box(np.array([-1, -2], "f4"), np.array([1, np.inf], "f4")),
        gym.spaces.Dict(a=gym.spaces.Discrete(2), b=gym.spaces.MultiBinary([2, 2])),
    ],
)
def test_spaces_that_stand_in_the_pickle(tmp_path: Path, space: gym.Space) -> None:
    space.seed(3)
    space.sample()
    write_vecnormalize(tmp_path / "x.pkl", stats_for(MOMENTS), SPACES["box"][0], space)
    assert read_vecnormalize(tmp_path / "x.pkl").reward.count == 12.5
