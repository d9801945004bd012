"""Raw observations and actions: as the environment has them, in or out of a batch, and wrong ones in one line."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from lit_rl.envs.raw import OwnSpaces, RawSpaces
from lit_rl.envs.spaces import plain_action_space, plain_obs, plain_space
from lit_rl.errors import ConfigError
from lit_rl.ops.tree import tree_map
from lit_rl.state.space import space_from_plain
from lit_rl.training.spaces import spaces_in, stored_spaces

ONE = spaces.Discrete(2)
IMAGE = spaces.Box(0, 255, (40, 36, 3), np.uint8)
SEEN_IMAGE = spaces.Box(0, 255, (3, 40, 36), np.uint8)


def raw_of(observation: spaces.Space[Any], action: spaces.Space[Any] = ONE) -> RawSpaces:
    return RawSpaces(plain_space(observation), plain_action_space(action), OwnSpaces(observation, action))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (3,), np.float64),
        spaces.Box(-1, 1, (), np.float32),
        spaces.Discrete(5, start=-2),
        spaces.MultiDiscrete([[3, 4], [5, 6]], start=[[1, 0], [-1, 2]]),
        spaces.MultiBinary([2, 3]),
        spaces.Dict({"a.b": spaces.Discrete(3, start=1), "in": spaces.Dict({"x": spaces.Box(0, 1, (2,)), 3: ONE})}),
    ],
    ids=str,
)
def test_an_observation_is_seen_as_in_training(space: spaces.Space[Any]) -> None:
    space.seed(0)
    raw, given = raw_of(space), [space.sample() for _ in range(3)]
    for each in given:
        seen, is_batch = raw.observed(each)
        assert not is_batch
        tree_map(lambda one, other: np.testing.assert_array_equal(one[0], other), seen, plain_obs(each, space))
    if not isinstance(space, spaces.Dict):
        seen, is_batch = raw.observed(np.stack(given))
        assert is_batch
        np.testing.assert_array_equal(seen, np.stack([plain_obs(each, space) for each in given]))
    assert raw.observation_space == space


@pytest.mark.parametrize("known", [True, False])
def test_images_come_with_channels_first_or_last(known: bool) -> None:
    raw = RawSpaces(SEEN_IMAGE, ONE, OwnSpaces(IMAGE, ONE) if known else None)
    image = IMAGE.sample()
    for given in (image, np.moveaxis(image, -1, 0), image[None], np.moveaxis(image, -1, 0)[None]):
        seen, is_batch = raw.observed(given)
        np.testing.assert_array_equal(seen[0], np.moveaxis(image, -1, 0))
        assert is_batch == (given.ndim == 4)


def test_frames_come_stacked() -> None:
    frame, seen = spaces.Box(0, 255, (40, 36, 1), np.uint8), spaces.Box(0, 255, (4, 40, 36), np.uint8)
    raw = RawSpaces(seen, ONE, OwnSpaces(frame, ONE), n_stack=4)
    assert raw.observation_space.shape == (40, 36, 4)
    stack = raw.observation_space.sample()
    np.testing.assert_array_equal(raw.observed(stack)[0][0], np.moveaxis(stack, -1, 0))
    with pytest.raises(ConfigError, match=re.escape("4 frames; wrap the environment in VecFrameStack(env, 4)")):
        raw.observed(frame.sample())


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([[3, 2]], start=[[1, 1]]),
        spaces.Box(-3, 4, (2,), np.int64),
        spaces.MultiBinary([2, 2]),
        spaces.Box(-2, 2, (), np.float32),
    ],
    ids=str,
)
def test_actions_are_the_environments_own(space: spaces.Space[Any]) -> None:
    raw, plain = raw_of(ONE, space), plain_action_space(space)
    plain.seed(0)
    actions = raw.own_actions(np.stack([plain.sample() for _ in range(5)]))
    assert len(actions) == 5
    assert all(space.contains(action if space.shape else space.dtype.type(action)) for action in actions)


@pytest.mark.parametrize(
    ("space", "given", "says"),
    [
        (spaces.Box(-1, 1, (3,)), np.zeros(4), "has shape (4,), and the policy takes (3,), or a batch"),
        (spaces.Box(-1, 1, (3,)), np.zeros((2, 2, 3)), "has shape (2, 2, 3)"),
        (spaces.Box(-1, 1, (3,)), {"obs": np.zeros(3)}, "is not an array of numbers but a dict"),
        (spaces.Box(-1, 1, (3,)), [[0.0], [1.0, 2.0]], "is not an array of numbers"),
        (IMAGE, np.zeros(IMAGE.shape, np.float32), "is of float32, and the policy takes uint8"),
        (spaces.Dict(a=ONE, b=ONE), {"a": 1}, "has no part 'b'"),
        (spaces.Dict(a=ONE, b=ONE), np.zeros(2), "this policy takes a dictionary with a, b"),
        (spaces.Dict(a=ONE, b=ONE), {"a": [1, 0], "b": 1}, "are not of one batch"),
    ],
)
def test_what_is_of_another_space_is_refused(space: spaces.Space[Any], given: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as error:
        raw_of(space).observed(given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "own",
    [
        OwnSpaces(spaces.Discrete(4, start=2), spaces.Box(-3, 4, (2,), np.int16)),
        OwnSpaces(spaces.Dict({"a": spaces.Dict(b=ONE)}), spaces.MultiDiscrete([[2, 3]], start=[[1, 5]])),
        OwnSpaces(spaces.Box(-1, 1, (3,)), ONE),
    ],
)
def test_a_checkpoint_holds_the_environments_own_spaces(own: OwnSpaces) -> None:
    seen = plain_space(own.observation), plain_action_space(own.action)
    stored = stored_spaces(seen, own)
    assert spaces_in(stored) == (seen, own)
    assert (stored["own_observation_space"] is None) == (own.observation == seen[0])
    before = {key: stored[key] for key in ("observation_space", "action_space")}  # of an older version
    assert spaces_in(before) == (seen, OwnSpaces(*seen))
    assert space_from_plain(before["action_space"]) == seen[1]
