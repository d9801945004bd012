"""Running normalisation against stable-baselines3's VecNormalize, step by step."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize, VecTransposeImage

from lit_rl.envs.config import EnvConfig, NormalizeConfig
from lit_rl.envs.normalize import Normalizer
from lit_rl.errors import ConfigError
from tests.helpers import envs
from tests.helpers.vector import actions_of, sb3_vector, sync

N, LIMIT, STEPS = 3, 6, 80


def play(name, settings, theirs_settings):
    """Ours and SB3's, side by side: yields (what, ours, theirs) to compare."""
    config = EnvConfig(class_path=envs.PATH + name, n_envs=N, max_episode_steps=LIMIT)
    ours = sync(config)
    normalizer = Normalizer(NormalizeConfig(**settings), ours.observation_space, 0.9, N)
    theirs = sb3_vector(getattr(envs, name), N, LIMIT)
    if name == "DictWalk":
        theirs = VecTransposeImage(theirs)
    theirs = VecNormalize(theirs, gamma=0.9, **theirs_settings)
    obs = ours.reset()
    normalizer.update_obs(obs)
    yield "first observation", normalizer.normalize_obs(obs), theirs.reset()
    ended = 0
    for action in actions_of(ours.action_space, N, STEPS):
        result = ours.step(action)
        done = result.terminated | result.truncated
        normalizer.update_obs(result.obs)
        obs = normalizer.normalize_obs(result.obs)
        reward = normalizer.scale_rewards(result.reward[None], done[None])[0]
        their_obs, their_reward, their_done, infos = theirs.step(action)
        np.testing.assert_array_equal(done, their_done)
        yield "observation", obs, their_obs
        yield "reward", reward, their_reward
        if normalizer.reward is not None:
            yield "discounted returns", normalizer.returns, theirs.returns
        for row, final in result.finals:
            ended += 1
            assert infos[row]["TimeLimit.truncated"] == (not result.terminated[row])
            yield "last observation", normalizer.normalize_obs(final), infos[row]["terminal_observation"]
    assert ended > 20
    if normalizer.reward is not None:
        yield "reward variance", normalizer.reward.var.numpy(), theirs.ret_rms.var
    theirs.close()


def check(pairs):
    for what, ours, theirs in pairs:
        if isinstance(ours, dict):
            assert ours.keys() == theirs.keys()
            for key in ours:
                np.testing.assert_allclose(ours[key], theirs[key], rtol=2e-5, atol=2e-6, err_msg=f"{what} {key}")
                assert ours[key].dtype == theirs[key].dtype
        else:
            np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6, err_msg=what)


@pytest.mark.parametrize(
    "settings",
    [
        {"obs": True, "reward": True},
        {"obs": True, "reward": False},
        {"obs": False, "reward": True},
        {"obs": True, "reward": True, "clip_obs": 0.7, "clip_reward": 0.2},
        {"obs": True, "reward": True, "epsilon": 0.5},
    ],
)
def test_equal_to_vec_normalize(settings):
    theirs = {f"norm_{key}" if key in ("obs", "reward") else key: value for key, value in settings.items()}
    check(play("BoxWalk", settings, theirs))


def test_equal_to_vec_normalize_for_dict_observations():
    check(
        play(
            "DictWalk",
            {"obs": True, "reward": True, "keys": ["vector"]},
            {"norm_obs": True, "norm_reward": True, "norm_obs_keys": ["vector"]},
        )
    )


def test_an_own_gamma_goes_before_the_algorithms():
    space = spaces.Box(-1, 1, (2,))
    assert Normalizer(NormalizeConfig(reward=True), space, 0.9, 1).gamma == 0.9
    assert Normalizer(NormalizeConfig(reward=True, gamma=0.5), space, 0.9, 1).gamma == 0.5


def test_off_changes_nothing():
    normalizer = Normalizer(NormalizeConfig(), spaces.Box(-1, 1, (2,)), 0.9, 2)
    obs, reward = np.ones((2, 2), np.float32), np.array([[3.0, 4.0]])
    normalizer.update_obs(obs)
    assert normalizer.normalize_obs(obs) is obs
    assert normalizer.scale_rewards(reward, np.array([[False, True]])) is reward
    assert list(normalizer.state_dict()) == []


def test_a_dict_leaves_images_and_numbers_alone_by_default():
    space = envs.DictWalk().observation_space
    normalizer = Normalizer(NormalizeConfig(obs=True, clip_obs=5.0), space, 0.9, 1)
    assert set(normalizer.state_dict()) == {"obs.vector.mean", "obs.vector.var", "obs.vector.count"}
    seen = normalizer.policy_space(space)
    assert seen["vector"] == spaces.Box(-5.0, 5.0, (2,), np.float32)
    assert seen["image"] == space["image"]
    assert seen["parity"] == space["parity"]


def test_moments_stay_float64_wherever_the_module_goes():
    normalizer = Normalizer(NormalizeConfig(obs=True, reward=True), spaces.Box(-1, 1, (2,)), 0.9, 1)
    normalizer.half().to(torch.bfloat16).float()
    assert {buffer.dtype for buffer in normalizer.buffers()} == {torch.float64}


def test_a_rollouts_rewards_are_scaled_as_its_steps_one_by_one():
    rng = np.random.default_rng(3)
    reward, done = rng.normal(size=(50, 2)), rng.random((50, 2)) < 0.2
    at_once, one_by_one = (Normalizer(NormalizeConfig(reward=True), spaces.Box(-1, 1, (2,)), 0.9, 2) for _ in range(2))
    scaled = np.concatenate(
        [at_once.scale_rewards(reward[:30], done[:30]), at_once.scale_rewards(reward[30:], done[30:])]
    )
    steps = [one_by_one.scale_rewards(reward[t : t + 1], done[t : t + 1])[0] for t in range(50)]
    np.testing.assert_allclose(scaled, steps, rtol=1e-12)
    np.testing.assert_array_equal(at_once.returns, one_by_one.returns)


def test_moments_come_back_from_a_state_dict():
    first, second = (
        Normalizer(NormalizeConfig(obs=True, reward=True), spaces.Box(-1, 1, (2,)), 0.9, 1) for _ in range(2)
    )
    first.update_obs(np.random.default_rng(0).normal(size=(10, 2)))
    first.scale_rewards(np.array([[2.0]]), np.array([[False]]))
    second.load_state_dict(first.state_dict())
    obs = np.array([[0.3, -0.2]])
    np.testing.assert_array_equal(first.normalize_obs(obs), second.normalize_obs(obs))


@pytest.mark.parametrize(
    ("space", "keys", "message"),
    [
        (spaces.Box(-1, 1, (2,)), ["a"], r"env\.normalize\.keys is for Dict"),
        (spaces.Discrete(3), None, r"env\.normalize\.obs needs Box"),
        (spaces.Dict(vector=spaces.Box(-1, 1)), ["vectr"], "'vectr'.*Did you mean 'vector'"),
        (spaces.Dict(number=spaces.Discrete(2)), ["number"], "'number' is not a Box"),
    ],
)
def test_what_cannot_be_normalised_is_refused(space, keys, message):
    with pytest.raises(ConfigError, match=message):
        Normalizer(NormalizeConfig(obs=True, keys=keys), space, 0.9, 1)
