"""The example environment: a correct gymnasium environment, exact to replay, solvable and rising."""

import itertools

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from lit_rl.envs.examples.gates import LEVELS, SPEED, Gates
from lit_rl.errors import ConfigError


def scripted(obs):
    """Line up with the next gate on the way to the goal, pass it, go to the goal. Returns an action."""
    goal, target = obs[2:4], obs[2:4]
    for wall_dx, gate_dy, half_width in (obs[4:7], obs[7:10]):
        if 0.0 < wall_dx < goal[0]:
            lined_up = abs(gate_dy) < 0.5 * half_width
            target = np.array([wall_dx + 0.05 if lined_up else wall_dx - 0.02, gate_dy])
            break
    return np.clip(target / SPEED, -1.0, 1.0).astype(np.float32)


def success_rate(level, noise, episodes):
    env, rng, successes = Gates(level), np.random.default_rng(0), 0
    for seed in range(episodes):
        obs, info = env.reset(seed=seed)
        done = False
        while not done:
            action = scripted(obs) + noise * rng.normal(size=2)
            obs, _, terminated, truncated, info = env.step(action.astype(np.float32))
            done = terminated or truncated
        successes += info["is_success"]
    return successes / episodes


@pytest.mark.parametrize("level", range(len(LEVELS)))
def test_gymnasium_accepts_it_at_every_level(level):
    check_env(Gates(level), skip_render_check=True)


@pytest.mark.parametrize("level", range(len(LEVELS)))
def test_every_level_is_solved_by_a_scripted_policy(level):
    assert success_rate(level, noise=0.0, episodes=100) == 1.0


def test_a_fixed_noisy_policy_succeeds_less_from_level_to_level():
    rates = [success_rate(level, noise=2.0, episodes=300) for level in range(len(LEVELS))]
    assert all(easier > harder for easier, harder in itertools.pairwise(rates)), rates
    assert rates[0] > 0.9, rates


def test_an_episode_replays_to_the_bit_in_a_new_instance_after_other_episodes():
    actions = np.random.default_rng(1).uniform(-1, 1, (60, 2)).astype(np.float32)

    def play(env):
        obs, _ = env.reset(seed=7)
        steps = [env.step(action)[:4] for action in actions]
        return [obs.tobytes()] + [(o.tobytes(), r, a, b) for o, r, a, b in steps]

    used = Gates(0)
    used.reset(seed=1)
    used.step(actions[0])
    used.set_level(4)
    assert play(used) == play(Gates(4))


def test_a_new_level_takes_effect_at_the_next_reset():
    env, other = Gates(5), Gates(5)
    env.reset(seed=3)
    other.reset(seed=3)
    env.set_level(0)
    action = np.ones(2, np.float32)
    assert np.array_equal(env.step(action)[0], other.step(action)[0])
    env.reset(seed=3)
    assert not np.array_equal(env.step(action)[0], other.step(action)[0])


def test_max_steps_truncates_and_success_terminates_with_reward_one():
    env = Gates(5, max_steps=3)
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    env = Gates(0)
    obs, _ = env.reset(seed=0)
    rewards = []
    while True:
        obs, reward, terminated, truncated, info = env.step(scripted(obs))
        rewards.append(reward)
        if terminated:
            break
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
    assert info["is_success"] is True
    assert not truncated


def test_a_point_passes_a_gate_and_ends_at_a_wall():
    passed = []
    for seed in range(40):
        env = Gates(5)
        obs, _ = env.reset(seed=seed)
        # Going straight ahead, only a point that starts at the height of the first gate gets through.
        starts_in_line = abs(obs[5]) < env.gate_width
        terminated = False
        while obs[4] > 0 and not terminated:
            obs, reward, terminated, _, info = env.step(np.array([1.0, 0.0], np.float32))
        assert terminated == (not starts_in_line)
        assert (reward, info["is_success"]) == (0.0, False)
        passed.append(starts_in_line)
    assert 0 < sum(passed) < 40


def test_an_unknown_level_is_named():
    with pytest.raises(ConfigError, match="level: is 6, and the levels of Gates go from 0 to 5"):
        Gates().set_level(6)


def test_render_shows_the_walls():
    env = Gates(5, render_mode="rgb_array")
    env.reset(seed=0)
    image = env.render()
    assert image.shape == (96, 96, 3)
    assert (image == (60, 60, 60)).all(axis=-1).sum() > 100
    assert Gates(5).render() is None
