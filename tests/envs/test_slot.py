"""One environment: how its episodes are seeded, and how it comes back in mid-episode, to the bit."""

import gymnasium as gym
import numpy as np
import pytest

from lit_rl.envs.config import EnvConfig, WrapperConfig
from lit_rl.envs.probe import probe, random_action
from lit_rl.envs.slot import Slot
from lit_rl.ops.streams import EpisodeSeeds
from tests.helpers import envs
from tests.helpers.vector import as_bytes, through_a_checkpoint

NOISE = WrapperConfig(envs.PATH + "NoiseWrapper")
GYM = {
    "CartPole-v1": EnvConfig(id="CartPole-v1"),
    "Pendulum-v1": EnvConfig(id="Pendulum-v1", max_episode_steps=40),
    "Acrobot-v1": EnvConfig(id="Acrobot-v1", max_episode_steps=30),
    "FrozenLake-v1": EnvConfig(id="FrozenLake-v1"),
    "Taxi": EnvConfig(id="Taxi-v4", max_episode_steps=30),
    "LunarLander-v3": EnvConfig(id="LunarLander-v3"),
    "BipedalWalker-v3": EnvConfig(id="BipedalWalker-v3", fresh_instance=True),
    "HalfCheetah-v5": EnvConfig(id="HalfCheetah-v5", max_episode_steps=45),
    "Pong": EnvConfig(id="ALE/Pong-v5", atari=True),
    "Breakout": EnvConfig(id="ALE/Breakout-v5", atari=True),
    "stacked CartPole": EnvConfig(id="CartPole-v1", frame_stack=3),
    "noise in the environment": EnvConfig(class_path=envs.PATH + "NoisyBox", max_episode_steps=9),
    "noise in a wrapper": EnvConfig(id="CartPole-v1", wrappers=[NOISE]),
    "Dict": EnvConfig(class_path=envs.PATH + "NoisyDict", max_episode_steps=9),
    "MultiDiscrete": EnvConfig(class_path=envs.PATH + "NoisyMultiDiscrete", max_episode_steps=9),
    "MultiBinary": EnvConfig(class_path=envs.PATH + "NoisyMultiBinary", max_episode_steps=9),
    "samples its actions": EnvConfig(class_path=envs.PATH + "SamplesActions", max_episode_steps=9),
    "reuses its buffer": EnvConfig(class_path=envs.PATH + "ReusesBuffer", max_episode_steps=9),
    "carries state": EnvConfig(class_path=envs.PATH + "CarriesState", fresh_instance=True, max_episode_steps=9),
}
NEEDS = {"LunarLander-v3": "Box2D", "BipedalWalker-v3": "Box2D", "HalfCheetah-v5": "mujoco"}
NEEDS |= {"Pong": "ale_py", "Breakout": "ale_py"}


def configured(name):
    pytest.importorskip(NEEDS.get(name, "gymnasium"))
    return GYM[name]


def play(slot, rng, steps):
    """Random steps; everything seen, as bytes."""
    seen = []
    for _ in range(steps):
        step = slot.step(random_action(slot.env.action_space, rng))
        final = None if step.final is None else as_bytes(step.final)
        seen.append((as_bytes(step.obs), float(step.reward), step.terminated, step.truncated, final))
    return seen, slot.take_finished()


@pytest.mark.parametrize("name", GYM)
def test_an_environment_comes_back_in_mid_episode_and_goes_on_the_same(name):
    slot = Slot(configured(name), run_seed=3, index=1)
    rng = np.random.default_rng(0)
    slot.begin()
    for steps in (17, 60):  # in the first episode, and after some have ended
        play(slot, rng, steps)
        other = Slot(GYM[name], run_seed=3, index=1)
        _, exact = other.restore(through_a_checkpoint(slot.capture()))
        assert exact
        state, restored = slot.capture(), other.capture()
        assert state.to_plain().keys() == restored.to_plain().keys()
        np.testing.assert_equal(state.to_plain(), restored.to_plain())
        assert other.take_finished() == []
        here, there = np.random.default_rng(steps), np.random.default_rng(steps)
        assert play(slot, here, 60) == play(other, there, 60)
        assert slot.episode == other.episode > 0 or name in (
            "Pong",
            "HalfCheetah-v5",
            "LunarLander-v3",
            "Breakout",
        )
        other.close()
    slot.close()


def test_the_observation_that_comes_back_is_the_one_that_was_seen():
    slot = Slot(GYM["CartPole-v1"], 0, 0)
    slot.begin()
    seen, _ = play(slot, np.random.default_rng(0), 12)
    obs, exact = Slot(GYM["CartPole-v1"], 0, 0).restore(slot.capture())
    assert exact
    assert as_bytes(obs) == seen[-1][0]


def test_a_slot_can_be_brought_back_before_its_first_step():
    slot = Slot(GYM["CartPole-v1"], 0, 0)
    obs = slot.begin()
    again, exact = Slot(GYM["CartPole-v1"], 0, 0).restore(through_a_checkpoint(slot.capture()))
    assert exact
    np.testing.assert_array_equal(obs, again)


def test_every_episode_starts_from_its_own_seed():
    slot, seeds = Slot(GYM["CartPole-v1"], 5, 2), EpisodeSeeds(5, 2)
    obs, rng, starts = slot.begin(), np.random.default_rng(0), []
    starts.append(obs)
    while len(starts) < 4:
        step = slot.step(random_action(slot.env.action_space, rng))
        if step.final is not None:
            starts.append(step.obs)
    plain = gym.make("CartPole-v1")
    for episode, start in enumerate(starts):
        np.testing.assert_array_equal(start, plain.reset(seed=seeds[episode])[0])


def test_slots_of_other_index_or_run_play_other_episodes():
    first = [as_bytes(Slot(GYM["CartPole-v1"], *key).begin()) for key in [(0, 0), (0, 1), (1, 0)]]
    assert len(set(first)) == 3


def test_the_last_observation_outlives_a_buffer_that_is_reused():
    slot, plain = (
        Slot(EnvConfig(class_path=envs.PATH + name, max_episode_steps=3), 0, 0) for name in ("ReusesBuffer", "Walk")
    )
    slot.begin(), plain.begin()
    for action in (2, 2, 0):
        step, expected = slot.step(action), plain.step(action)
    np.testing.assert_array_equal(step.final, expected.final)
    np.testing.assert_array_equal(step.obs, expected.obs)
    assert step.truncated


@pytest.mark.parametrize("change", ["actions", "trace", "first_episode", "episode"])
def test_what_does_not_replay_the_same_is_found_out_and_begins_its_next_episode(change):
    slot = Slot(GYM["CartPole-v1"], 0, 0)
    slot.begin()
    play(slot, np.random.default_rng(0), 60)
    state = slot.capture()
    if change == "actions":
        state.actions = 1 - state.actions
    else:
        setattr(state, change, getattr(state, change) + 1)
    other = Slot(GYM["CartPole-v1"], 0, 0)
    obs, exact = other.restore(state)
    assert not exact
    assert other.episode == state.episode + 1
    np.testing.assert_array_equal(obs, gym.make("CartPole-v1").reset(seed=EpisodeSeeds(0, 0)[other.episode])[0])
    assert other.take_finished() == []


def grade(name, **kwargs):
    return probe(EnvConfig(class_path=envs.PATH + name, max_episode_steps=9, **kwargs), run_seed=0).grade


def test_an_environment_that_carries_state_is_found_out_before_training():
    assert grade("CarriesState") == "boundary"
    assert grade("CarriesState", fresh_instance=True) == "exact"


def test_state_carried_from_cut_off_episodes_does_not_blur_the_grade_of_fresh_instances():
    config = EnvConfig(class_path=envs.PATH + "CarriesState", fresh_instance=True, max_episode_steps=500)
    assert probe(config, run_seed=0).grade == "exact"


def test_an_environment_on_the_global_stream_is_found_out_before_training():
    looked = probe(EnvConfig(class_path=envs.PATH + "GlobalNoise"), run_seed=0)
    assert (looked.grade, looked.draws) == ("exact", True)
    shared = EnvConfig(class_path=envs.PATH + "GlobalNoise", global_streams="shared")
    assert probe(shared, run_seed=0).grade == "boundary"


@pytest.mark.parametrize("length", [2, 3, 5, 10, 20, 30, 60])
def test_it_is_found_out_whatever_the_length_of_its_episodes(length):
    """A look that always ended with an episode would have no action to replay."""
    config = EnvConfig(class_path=envs.PATH + "GlobalStand", max_episode_steps=length, global_streams="shared")
    assert probe(config, run_seed=0).grade == "boundary"


@pytest.mark.parametrize("run_seed", range(6))
def test_bipedal_walker_is_found_out_before_training(run_seed):
    pytest.importorskip("Box2D")
    assert probe(EnvConfig(id="BipedalWalker-v3"), run_seed).grade == "boundary"
    assert probe(EnvConfig(id="BipedalWalker-v3", fresh_instance=True), run_seed).grade == "exact"


@pytest.mark.parametrize("name", GYM)
def test_the_others_are_graded_exact(name):
    looked = probe(configured(name), run_seed=1)
    assert looked.grade == "exact"
    assert looked.step_seconds > 0
