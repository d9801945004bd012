"""Every supported space as the plain one that networks take, values between the two, and what is refused."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from lit_rl.envs.build import make_env
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.spaces import (
    TAKEN,
    own_action,
    own_key,
    plain_action_space,
    plain_key,
    plain_obs,
    plain_space,
)
from lit_rl.envs.sync import SyncVectorEnv
from lit_rl.envs.wrappers.plain_spaces import PlainSpaces
from lit_rl.errors import ConfigError
from tests.helpers import envs
from tests.helpers.on_policy import make_ppo

KEYS = ["robot.pos", "", "keys", "forward", "training", "type", "_modules", 3, (1, 2), None, "a%2Eb", "a.b", "%00"]


def env_of(observation: spaces.Space[Any] | None, action: spaces.Space[Any] | None, **settings: Any) -> EnvConfig:
    observation = observation or spaces.Box(-1.0, 1.0, (2,), np.float32)
    envs.Sampled.SPACES["these"] = (observation, action or spaces.Discrete(2))
    return EnvConfig(class_path=envs.PATH + "Sampled", kwargs={"spaces_of": "these"}, backend="sync", **settings)


@pytest.mark.parametrize(
    ("space", "value", "plain", "shown"),
    [
        (spaces.Discrete(5, start=-2), 2, spaces.Discrete(5), np.int64(4)),
        (
            spaces.MultiDiscrete([[3, 4], [2, 2]], start=[[1, 0], [-1, 5]]),
            [[3, 0], [-1, 6]],
            spaces.MultiDiscrete([3, 4, 2, 2]),
            np.array([2, 0, 0, 1]),
        ),
        (spaces.MultiDiscrete(np.array(3)), 2, spaces.MultiDiscrete([3]), np.array([2])),
        (spaces.Box(-1, 1, (), np.float32), 0.5, spaces.Box(-1, 1, (1,), np.float32), np.array([0.5], np.float32)),
        (spaces.Box(0, 9, (), np.int16), 7, spaces.Box(0, 9, (1,), np.int16), np.array([7], np.int16)),
        (
            spaces.Dict({"a": spaces.Dict({"x.y": spaces.Discrete(2, start=1)}), "b": spaces.MultiBinary([2, 2])}),
            {"a": {"x.y": 1}, "b": np.eye(2, dtype=np.int8)},
            spaces.Dict({"a/x%2Ey": spaces.Discrete(2), "b": spaces.MultiBinary([2, 2])}),
            {"a/x%2Ey": np.int64(0), "b": np.eye(2, dtype=np.int8)},
        ),
    ],
)
def test_observations_in_their_plain_space(space, value, plain, shown):
    assert plain_space(space) == plain
    assert plain.contains(plain_obs(value, space))
    np.testing.assert_equal(plain_obs(value, space), shown)


@pytest.mark.parametrize(
    ("space", "plain", "chosen", "taken"),
    [
        (spaces.Discrete(3, start=5), spaces.Discrete(3), 2, np.int64(7)),
        (spaces.Discrete(3, start=5, dtype=np.int32), spaces.Discrete(3), 2, np.int32(7)),
        (
            spaces.MultiDiscrete([[3, 4]], start=[[1, -1]]),
            spaces.MultiDiscrete([3, 4]),
            np.array([2, 0]),
            np.array([[3, -1]]),
        ),
        (spaces.MultiBinary([2, 2]), spaces.MultiBinary(4), np.array([1, 0, 0, 1]), np.eye(2, dtype=np.int8)),
        (spaces.Box(-1, 1, (), np.float64), spaces.Box(-1, 1, (1,), np.float64), np.array([0.5]), np.array(0.5)),
        (
            spaces.Box(-2, 3, (4,), np.int8),
            spaces.Box(-2, 3, (4,), np.float32),
            np.array([-1.6, 0.4, 2.6, 3.0], np.float32),
            np.array([-2, 0, 3, 3], np.int8),
        ),
        (
            spaces.Box(0, 1, (3,), np.bool_),
            spaces.Box(0, 1, (3,), np.float32),
            np.array([0.2, 0.7, 1.0]),
            np.array([False, True, True]),
        ),
    ],
)
def test_actions_in_the_environments_own_space(space, plain, chosen, taken):
    assert plain_action_space(space) == plain
    own = own_action(chosen, space)
    assert space.contains(own)
    assert np.asarray(own).dtype == space.dtype
    np.testing.assert_equal(own, taken)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int8])
def test_the_ends_of_whole_numbers_are_reached_and_not_passed(dtype):
    info = np.iinfo(dtype)
    space = spaces.Box(info.min, info.max, (3,), dtype)
    plain = plain_action_space(space)
    own = own_action(np.array([plain.low[0], 1.4, plain.high[0]]), space)
    np.testing.assert_array_equal(own, np.array([info.min, 1, info.max], dtype))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (2, 3), np.float64),
        spaces.Box(0, 9, (2,), np.uint16),
        spaces.Discrete(3),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary([2, 3]),
        spaces.Dict({"image": spaces.Box(0, 255, (40, 40, 3), np.uint8), "a b": spaces.Discrete(2)}),
    ],
)
def test_what_networks_take_is_left_alone(space):
    assert plain_space(space) is space
    env, _ = make_env(env_of(space, None))
    layer: Any = env
    while isinstance(layer, gym.Wrapper):
        assert not isinstance(layer, PlainSpaces)
        layer = layer.env


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_no_module_can_have_has_another_and_comes_back(key):
    name = plain_key(key)
    torch.nn.ModuleDict({name: torch.nn.Identity()})
    assert own_key(name) == str(key)


def test_no_two_keys_come_to_the_same():
    keys = [*KEYS, "3", "(1, 2)", "None", "%33", "%6Beys", "robot%2Epos", "%", "a b", "%2500", "é.b", "é"]
    assert len({plain_key(key) for key in keys}) == len(keys)
    for key in ("%", "a b", "é", "robot_pos", "100%"):
        assert plain_key(key) == key


def test_the_names_that_torch_has_for_itself_are_known():
    """A later torch may have more."""
    assert set(dir(torch.nn.ModuleDict())) <= TAKEN


def test_two_parts_that_come_to_one_name_are_refused():
    space = spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)}), "a/b": spaces.Discrete(2)})
    with pytest.raises(ConfigError, match=r"env .*: observation space: the parts 'a' and 'a/b' both come to .* rename"):
        make_env(env_of(space, None))


@pytest.mark.parametrize("n_workers", [None, pytest.param(1, marks=pytest.mark.workers)])
def test_moments_are_asked_for_by_the_users_own_keys(n_workers):
    space = spaces.Dict({key: spaces.Box(-1.0, 1.0, (2,), np.float32) for key in ("robot.pos", "keys", "goal")})
    config = env_of(space, None)
    config.normalize.obs, config.normalize.keys = True, ["robot.pos", "keys"]
    ppo = make_ppo(config, n_steps=8, policy="MultiInputPolicy")
    assert set(ppo.normalizer.obs) == {"robot%2Epos", "%6Beys"}
    config.normalize.keys = ["robot.po"]
    with pytest.raises(ConfigError, match=r"env\.normalize\.keys: no part 'robot\.po' .* Did you mean 'robot\.pos'"):
        make_ppo(config, n_steps=8, policy="MultiInputPolicy")


@pytest.mark.parametrize("stack", [None, 3])
def test_a_single_number_can_be_stacked(stack):
    config = env_of(spaces.Box(-1.0, 1.0, (), np.float32), None, frame_stack=stack)
    venv = SyncVectorEnv(config, 0, range(1))
    assert venv.reset().shape == (1, stack or 1)


class Bare(gym.Env):
    """Has the spaces it is given, and no others."""

    def __init__(self, **given: Any) -> None:
        for name, value in given.items():
            setattr(self, name, value)


BOX, FLAG = spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Discrete(2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((spaces.Dict({}), FLAG), r"the observation space Dict\(\) holds no number"),
        ((spaces.Box(0, 1, (0,)), FLAG), r"the observation space Box.* holds no number"),
        ((BOX, spaces.Box(0, 1, (2, 0))), r"the action space Box.* holds no action"),
        ((spaces.Tuple([FLAG]), FLAG), r"space Tuple is not supported.*FlattenObservation"),
        ((spaces.Sequence(FLAG), FLAG), r"space Sequence is not supported.*size is not fixed"),
        ((spaces.Graph(spaces.Box(0, 1), None), FLAG), r"space Graph is not supported.*size is not fixed"),
        ((spaces.OneOf([FLAG]), FLAG), r"space OneOf is not supported"),
        (
            (spaces.Dict({"a": spaces.Dict({"b": spaces.Text(3)})}), FLAG),
            r"observation space Text at 'a/b' is not supported",
        ),
        ((BOX, spaces.Dict({"a": FLAG})), r"action space Dict is not supported.*ActionWrapper"),
        ((None, FLAG), r"there is no observation_space; set it"),
        ((BOX, None), r"there is no action_space; set it"),
        ((BOX, 3), r"action_space is a builtins\.int; set it"),
    ],
)
def test_what_no_policy_can_have_is_refused_in_a_line(given, message):
    names = ("observation_space", "action_space")
    kwargs = {name: space for name, space in zip(names, given, strict=True) if space is not None}
    with pytest.raises(ConfigError, match=message) as caught:
        make_env(EnvConfig(class_path=f"{__name__}.Bare", kwargs=kwargs))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("space", "policy", "message"),
    [
        (
            spaces.Dict({"see.n": spaces.Box(0, 255, (7, 7, 3), np.uint8), "b": FLAG}),
            "MultiInputPolicy",
            r"the image 'see\.n' of 7x7 is too small .* 36x36; flatten .*FlattenObservation and use MlpPolicy",
        ),
        (spaces.Box(0, 255, (36, 35, 3), np.uint8), "CnnPolicy", r"the image of 36x35 is too small .*use MlpPolicy"),
        (BOX, "MultiInputPolicy", r"MultiInputPolicy is for Dict observations; .* use MlpPolicy"),
    ],
)
def test_observations_that_a_policy_cannot_see(space, policy, message):
    with pytest.raises(ConfigError, match=rf"^model\.policy: {message}") as caught:
        make_ppo(env_of(space, None), policy=policy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("space", "policy", "wrapper"),
    [
        (
            spaces.Dict({"see": spaces.Box(0, 255, (7, 7, 3), np.uint8), "b": FLAG}),
            "MlpPolicy",
            "gymnasium.wrappers.FlattenObservation",
        ),
        (spaces.Box(0, 255, (7, 7, 3), np.uint8), "MlpPolicy", None),
        (spaces.Box(0, 255, (36, 36, 3), np.uint8), "CnnPolicy", None),
        (spaces.Dict({"see": spaces.Box(0, 255, (36, 36, 3), np.uint8)}), "MultiInputPolicy", None),
        (spaces.Tuple([FLAG, spaces.Discrete(3)]), "MlpPolicy", "gymnasium.wrappers.FlattenObservation"),
    ],
)
def test_what_is_advised_works(space, policy, wrapper):
    config = env_of(space, None, wrappers=[wrapper] if wrapper else [])
    make_ppo(config, policy=policy, n_steps=8, batch_size=8, n_epochs=1).training_step(0, 0)
