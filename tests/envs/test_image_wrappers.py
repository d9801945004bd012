"""Frame stack, channels first and what counts as an image, against stable-baselines3."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import VecFrameStack, VecTransposeImage

from lit_rl.envs.config import EnvConfig, WrapperConfig
from lit_rl.envs.images import channels_first, is_image
from lit_rl.errors import ConfigError
from tests.helpers import envs
from tests.helpers.vector import actions_of, sb3_vector, sync


def check_against(theirs, config, steps=50):
    """The same actions: observations, also those at the ends of episodes, equal to the bit."""
    ours = sync(config)
    assert ours.observation_space == theirs.observation_space
    check_equal(ours.reset(), theirs.reset())
    ended = 0
    for action in actions_of(ours.action_space, config.n_envs, steps):
        result = ours.step(action)
        obs, _, done, infos = theirs.step(action)
        check_equal(result.obs, obs)
        np.testing.assert_array_equal(result.terminated | result.truncated, done)
        for row, final in result.finals:
            ended += 1
            check_equal(final, infos[row]["terminal_observation"])
    assert ended > 10
    theirs.close()


def check_equal(ours, theirs):
    if isinstance(theirs, dict):
        for key in theirs:
            check_equal(ours[key], theirs[key])
    else:
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


class FirstImage(gym.ObservationWrapper):
    """An image with its channels first already."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = spaces.Box(0, 255, (3, 40, 36), np.uint8)

    def observation(self, observation):
        return np.moveaxis(observation, -1, 0)


def test_stacked_vectors_equal_vec_frame_stack():
    config = EnvConfig(class_path=envs.PATH + "Walk", n_envs=3, max_episode_steps=6, frame_stack=3)
    check_against(VecFrameStack(sb3_vector(envs.Walk, 3, 6), 3), config)


def test_stacked_images_equal_vec_frame_stack_and_transpose():
    config = EnvConfig(class_path=envs.PATH + "Image", n_envs=2, max_episode_steps=6, frame_stack=4)
    theirs = VecTransposeImage(VecFrameStack(sb3_vector(envs.Image, 2, 6), 4))
    check_against(theirs, config)


def test_stacked_images_with_channels_first_equal_vec_frame_stack():
    config = EnvConfig(
        class_path=envs.PATH + "Image",
        n_envs=2,
        max_episode_steps=6,
        frame_stack=2,
        wrappers=[WrapperConfig(f"{__name__}.FirstImage")],
    )
    theirs = VecFrameStack(sb3_vector(lambda: FirstImage(envs.Image()), 2, 6), 2)
    check_against(theirs, config)


def test_images_are_transposed_as_sb3_does():
    config = EnvConfig(class_path=envs.PATH + "Image", n_envs=2, max_episode_steps=6)
    check_against(VecTransposeImage(sb3_vector(envs.Image, 2, 6)), config)


def test_images_in_a_dict_are_transposed_as_sb3_does():
    config = EnvConfig(class_path=envs.PATH + "DictWalk", n_envs=2, max_episode_steps=6)
    check_against(VecTransposeImage(sb3_vector(envs.DictWalk, 2, 6)), config)


def test_dict_observations_cannot_be_stacked():
    with pytest.raises(ConfigError, match=r"env\.frame_stack needs a Box"):
        sync(EnvConfig(class_path=envs.PATH + "DictWalk", frame_stack=2))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (84, 84, 1), np.uint8),
        spaces.Box(0, 255, (4, 84, 84), np.uint8),
        spaces.Box(0, 255, (84, 84, 12), np.uint8),
        spaces.Box(0, 255, (84, 3, 84), np.uint8),
        spaces.Box(0, 255, (84, 84, 84), np.uint8),
        spaces.Box(0, 255, (84, 84), np.uint8),
        spaces.Box(0, 254, (84, 84, 3), np.uint8),
        spaces.Box(1, 255, (84, 84, 3), np.uint8),
        spaces.Box(0, 255, (84, 84, 3), np.float32),
        spaces.Discrete(3),
        spaces.MultiBinary((3, 4, 5)),
    ],
    ids=str,
)
def test_an_image_is_what_sb3_takes_for_one(space):
    assert is_image(space) == is_image_space(space)
    if is_image(space):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert channels_first(space) == is_image_space_channels_first(space)
