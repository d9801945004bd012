"""The native CartPole: gymnasium's dynamics, reset in the same step, exact by its own state."""

import gymnasium as gym
import numpy as np
import pytest

from lit_rl.envs.config import EnvConfig, WrapperConfig
from lit_rl.envs.make import make_vector
from lit_rl.envs.native import NativeVectorEnv
from lit_rl.errors import ConfigError
from lit_rl.ops.streams import EpisodeSeeds
from lit_rl.state.plain import to_plain
from tests.helpers.vector import actions_of, frozen, record

N = 4


def native(run_seed=0, rows=range(N), **settings):
    settings = {"id": "CartPole-v1", **settings}
    return NativeVectorEnv(EnvConfig(backend="native", n_envs=len(rows), **settings), run_seed, rows)


def test_each_episode_is_gymnasiums_from_its_seed():
    """The first environment beside a plain CartPole that is reset with the same seeds."""
    ours, seeds = native(max_episode_steps=15), EpisodeSeeds(0, 0)
    plain = gym.make("CartPole-v1", max_episode_steps=15)
    obs, episode, length, ended = ours.reset(), 0, 0, {True: 0, False: 0}
    np.testing.assert_array_equal(obs[0], plain.reset(seed=seeds[0])[0])
    for action in actions_of(ours.action_space, N, 200):
        result = ours.step(action)
        obs, reward, terminated, truncated, _ = plain.step(int(action[0]))
        length += 1
        assert (result.reward[0], result.terminated[0]) == (reward, terminated)
        assert result.truncated[0] == truncated
        finals = dict(result.finals)
        if terminated or truncated:
            np.testing.assert_array_equal(finals[0], obs)
            assert [(e.ret, e.length) for e in result.episodes if e.env_index == 0] == [(length, length)]
            ended[terminated] += 1
            episode, length = episode + 1, 0
            obs, _ = plain.reset(seed=seeds[episode])
        else:
            assert 0 not in finals
        np.testing.assert_array_equal(result.obs[0], obs)
    assert min(ended.values()) > 1


def test_rewards_never_miss_a_step():
    ours = native()
    ours.reset()
    for action in actions_of(ours.action_space, N, 100):
        np.testing.assert_array_equal(ours.step(action).reward, 1.0)


def test_it_comes_back_exactly():
    ours = native(max_episode_steps=15)
    ours.reset()
    actions = actions_of(ours.action_space, N, 80)
    for action in actions[:40]:
        last = frozen(ours.step(action).obs)
    state = to_plain(ours.capture())
    other = native(max_episode_steps=15)
    obs, lost = other.restore(state)
    assert lost == []
    assert other.grade == "exact"
    np.testing.assert_array_equal(obs, last)
    for action in actions[40:]:
        assert record(ours.step(action)) == record(other.step(action))


def test_a_captured_state_is_not_changed_by_what_follows():
    ours = native()
    ours.reset()
    state = ours.capture()
    before = np.array(state[0]["own"]["state"])
    for action in actions_of(ours.action_space, N, 30):
        ours.step(action)
    np.testing.assert_array_equal(state[0]["own"]["state"], before)


def test_an_environments_episodes_do_not_depend_on_its_neighbours():
    all_of_them, last_two = native(), native(rows=range(2, 4))
    np.testing.assert_array_equal(all_of_them.reset()[2:], last_two.reset())
    for action in actions_of(all_of_them.action_space, N, 60):
        np.testing.assert_array_equal(all_of_them.step(action).obs[2:], last_two.step(action[2:]).obs)


def test_the_time_limit_is_that_of_the_id():
    assert native()._env.max_episode_steps == 500
    assert native(max_episode_steps=77)._env.max_episode_steps == 77


class NextStep(gym.vector.VectorEnv):
    """Resets one step late, gymnasium's default."""

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, num_envs):
        self.num_envs = num_envs


class SameStep(NextStep):
    """Resets in the same step and has no state to give."""

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, num_envs):
        super().__init__(num_envs)
        self.single_observation_space = gym.spaces.Box(-1, 1, (1,))
        self.single_action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.full((self.num_envs, 1), seed, np.float32), {}

    def step(self, action):
        zeros = np.zeros(self.num_envs, bool)
        return np.zeros((self.num_envs, 1), np.float32), np.ones(self.num_envs), zeros, zeros, {}


def test_junk_transitions_are_refused():
    with pytest.raises(ConfigError, match=r"env\.backend: native .*NEXT_STEP.*same step"):
        native(id=None, class_path=f"{__name__}.NextStep")


def test_without_a_state_of_its_own_it_is_graded_boundary_and_begins_its_next_episodes():
    ours = native(id=None, class_path=f"{__name__}.SameStep")
    assert ours.grade == "boundary"
    first = ours.reset()
    ours.step(np.zeros(N, np.int64))
    other = native(id=None, class_path=f"{__name__}.SameStep")
    obs, lost = other.restore(to_plain(ours.capture()))
    assert lost == [0, 1, 2, 3]
    assert not np.array_equal(obs, first)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"id": "Acrobot-v1"}, r"env\.backend: native is not there for Acrobot-v1"),
        ({"kwargs": {"gravty": 1.0}}, r"env\.kwargs: .*'gravty'"),
        ({"id": None}, r"env\.id is missing"),
    ],
)
def test_mistakes_are_one_line(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        native(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [{"wrappers": [WrapperConfig("x.Y")]}, {"atari": True}, {"frame_stack": 2}, {"fresh_instance": True}],
)
def test_wrappers_are_refused(settings):
    with pytest.raises(ConfigError, match=r"env\.backend: native .* takes no wrappers"):
        EnvConfig(id="CartPole-v1", backend="native", **settings)


def test_it_is_what_the_backend_native_makes():
    envs = make_vector(EnvConfig(id="CartPole-v1", n_envs=N, backend="native"), 0, range(N))
    assert isinstance(envs, NativeVectorEnv)
