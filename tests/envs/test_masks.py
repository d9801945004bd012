"""Masks of actions, and the environments and wrappers that the examples use."""

from __future__ import annotations

import itertools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from lit_rl.envs.config import EnvConfig
from lit_rl.envs.examples.tour import FORBIDDEN, Tour
from lit_rl.envs.failures import InvalidOutput
from lit_rl.envs.masks import Mask, has_masks, random_allowed
from lit_rl.envs.slot import Slot
from lit_rl.envs.wrappers.hidden import Hidden
from lit_rl.errors import ConfigError
from tests.helpers import masked


class Says(gym.Env):
    def __init__(self, space, mask):
        self.action_space, self.observation_space, self.mask = space, spaces.Discrete(2), mask

    def action_masks(self):
        return self.mask


@pytest.mark.parametrize(
    ("space", "mask", "expected"),
    [
        (spaces.Discrete(3), [True, False, True], [1, 0, 1]),
        (spaces.Discrete(3), np.array([0, 1, 1]), [0, 1, 1]),
        (spaces.Discrete(2), np.array([0.0, 1.0], np.float32), [0, 1]),
        (spaces.MultiDiscrete([2, 3]), [[1, 0, 0, 0, 1]], [1, 0, 0, 0, 1]),
        (spaces.MultiBinary(2), [True, True, False, True], [1, 1, 0, 1]),
    ],
)
def test_masks_are_flags_of_all_choices(space, mask, expected):
    found = Mask(Says(space, mask), "it").look()
    assert found.dtype == np.bool_
    assert found.tolist() == [bool(flag) for flag in expected]


@pytest.mark.parametrize(
    ("space", "mask", "text"),
    [
        (spaces.Discrete(3), [False] * 3, "a mask that allows no action"),
        (spaces.MultiDiscrete([2, 3]), [0, 0, 1, 1, 1], "a mask that allows nothing of a part of its actions"),
        (spaces.MultiDiscrete([2, 3]), [1, 0, 0, 0, 0], "a mask that allows nothing of a part of its actions"),
        (spaces.MultiBinary(2), [1, 1, 0, 0], "a mask that allows nothing of a part of its actions"),
        (spaces.Discrete(3), [0, 1, 2], "not of true and false"),
        (spaces.Discrete(3), ["a", "b", "c"], "not of true and false"),
        (spaces.Discrete(3), [True], "a mask of 1 flags from action_masks(), and its actions have 3"),
    ],
)
def test_what_is_no_mask(space, mask, text):
    with pytest.raises(InvalidOutput, match="mask") as error:
        Mask(Says(space, mask), "it").look()
    assert text in str(error.value)


def test_actions_that_have_no_choices_have_no_masks():
    assert has_masks(Says(spaces.Discrete(2), None))
    assert not has_masks(Says(spaces.Box(-1, 1), None))
    assert not has_masks(gym.make("CartPole-v1"))


def test_random_actions_are_allowed_ones():
    rng, space = np.random.default_rng(0), spaces.MultiDiscrete([2, 3])
    taken = {tuple(random_allowed(space, np.array([1, 0, 1, 0, 1], bool), rng)) for _ in range(50)}
    assert taken == {(0, 0), (0, 2)}


def test_an_episode_that_is_brought_back_has_its_mask():
    config = EnvConfig(class_path=masked.PATH + "Masked", action_masks=True)
    slot = Slot(config, 0, 0)
    slot.begin()
    for _ in range(4):
        slot.step(int(np.flatnonzero(slot.mask)[0]))
    again = Slot(config, 0, 0)
    assert again.restore(slot.capture())[1]
    assert again.mask.tolist() == slot.mask.tolist() != [True] * 3


def test_a_round_trip():
    env = Tour(towns=4)
    obs, _ = env.reset(seed=3)
    places = env._places
    assert obs.shape == (20,)
    assert env.action_masks().tolist() == [False, True, True, True]
    assert env.step(0)[1] == FORBIDDEN
    total = 0.0
    for town in (2, 1, 3):
        obs, reward, terminated, truncated, info = env.step(town)
        assert env.observation_space.contains(obs)
        total += reward
    way = [0, 2, 1, 3, 0]
    assert total == pytest.approx(-sum(np.linalg.norm(places[a] - places[b]) for a, b in itertools.pairwise(way)))
    assert (terminated, truncated, info["is_success"]) == (True, False, True)
    np.testing.assert_allclose(obs[:4], places[:, 0] - places[3, 0], rtol=1e-6)
    env.reset(seed=3)
    assert [env.step(0)[3] for _ in range(16)] == [False] * 15 + [True]


def test_what_is_hidden():
    env = Hidden(gym.make("CartPole-v1"), [1, 3])
    env.reset(seed=0)
    obs, *_ = env.step(1)
    assert obs[[1, 3]].tolist() == [0, 0]
    assert obs[[0, 2]].all()
    with pytest.raises(ConfigError, match="whole numbers from 0 to 3"):
        Hidden(gym.make("CartPole-v1"), [4])
    with pytest.raises(ConfigError, match="Box of one dimension"):
        Hidden(gym.make("FrozenLake-v1"), [0])
