"""The Atari preset and the episode statistics below all wrappers, against stable-baselines3."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.seeding import np_random
from stable_baselines3.common.monitor import Monitor

from lit_rl.envs.config import EnvConfig, WrapperConfig
from lit_rl.envs.monitor import Episode
from lit_rl.ops.streams import EpisodeSeeds
from tests.helpers import envs
from tests.helpers.vector import actions_of, sync


def test_returns_are_those_below_the_wrappers_as_sb3_counts_them():
    """A wrapper clips rewards to [-1, 0] and a time limit above ends the episodes."""
    clip = WrapperConfig("gymnasium.wrappers.ClipReward", {"min_reward": -1.0, "max_reward": 0.0})
    config = EnvConfig(class_path=envs.PATH + "Walk", n_envs=1, max_episode_steps=9, wrappers=[clip])
    ours = sync(config)
    theirs = Monitor(gym.wrappers.TimeLimit(envs.Walk(), 9))
    wrapped = gym.wrappers.ClipReward(theirs, -1.0, 0.0)
    ours.reset(), wrapped.reset()
    episodes = []
    for action in actions_of(ours.action_space, 1, 120):
        result = ours.step(action)
        _, reward, terminated, truncated, info = wrapped.step(action[0])
        assert result.reward[0] == reward
        if terminated or truncated:
            episodes.append((result.episodes[0].ret, result.episodes[0].length))
            assert episodes[-1] == pytest.approx((info["episode"]["r"], info["episode"]["l"]), abs=1e-6)
            wrapped.reset()
    assert len(episodes) > 10
    assert min(ret for ret, _ in episodes) < -9.0  # clipped, nine steps would be worth -9 at the least


class Succeeds(envs.Walk):
    def step(self, action):
        obs, reward, terminated, truncated, _ = super().step(action)
        return obs, reward, terminated, truncated, {"is_success": bool(self.position > 2.5)}


@pytest.mark.parametrize(("action", "success"), [(2, True), (0, False)])
def test_success_is_what_the_environment_says(action, success):
    ours = sync(EnvConfig(class_path=f"{__name__}.Succeeds"))
    ours.reset()
    for _ in range(6):
        result = ours.step(np.array([action]))
    assert result.episodes == [Episode(0, pytest.approx(result.episodes[0].ret), 6, success)]


def test_without_a_word_on_success_there_is_none():
    ours = sync(EnvConfig(class_path=envs.PATH + "Walk"))
    ours.reset()
    for _ in range(6):
        result = ours.step(np.array([2]))
    # 0.5, 1.0, ... 3.0: distances to 1 are 0.5, 0, 0.5, 1, 1.5, 2
    assert result.episodes == [Episode(0, -5.5, 6, None)]


def test_atari_preset_equals_sb3s():
    """The same actions over two games: observations, clipped rewards, lost lives, the games' returns.

    SB3 draws its no-ops from the environment's stream, ours come from the episode's seed: SB3 is given ours.
    """
    pytest.importorskip("ale_py")
    from stable_baselines3.common.atari_wrappers import NoopResetEnv
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack, VecTransposeImage

    ours = sync(EnvConfig(id="ALE/Breakout-v5", atari=True), run_seed=4)
    theirs = make_atari_env("ALE/Breakout-v5", n_envs=1, env_kwargs={"frameskip": 1})
    no_ops = theirs.envs[0]
    while not isinstance(no_ops, NoopResetEnv):
        no_ops = no_ops.env
    theirs = VecTransposeImage(VecFrameStack(theirs, 4))
    seeds, episode = EpisodeSeeds(4, 0), 0
    theirs.seed(seeds[0])
    no_ops.override_num_noops = int(np_random(seeds[0])[0].integers(1, 31))
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    games, rewards = [], 0.0
    for action in actions_of(ours.action_space, 1, 3000, seed=2):
        result = ours.step(action)
        no_ops.override_num_noops = int(np_random(seeds[episode + 1])[0].integers(1, 31))
        obs, reward, done, infos = theirs.step(action)
        done_here = result.terminated | result.truncated
        np.testing.assert_array_equal(done_here, done)
        assert result.reward[0] == reward[0]
        rewards += reward[0]
        if done[0]:
            episode += 1
            np.testing.assert_array_equal(result.finals[0][1][-1], infos[0]["terminal_observation"][-1])
        np.testing.assert_array_equal(result.obs, obs)
        if result.episodes:
            game = infos[0]["episode"]
            assert (result.episodes[0].ret, result.episodes[0].length) == (game["r"], game["l"])
            games.append(episode)
        if len(games) == 2:
            break
    assert games == [5, 10]  # five lives a game
    assert rewards > 0
    theirs.close()
