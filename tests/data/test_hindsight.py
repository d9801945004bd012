"""Hindsight against stable-baselines3's HerReplayBuffer: the same transitions, and the same goals for the same ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from lit_rl.data.config import HindsightReplay
from lit_rl.data.hindsight import Hindsight, check_goals
from lit_rl.data.replay import Replay
from lit_rl.errors import ConfigError
from lit_rl.ops.tree import tree_map
from tests.data.test_replay import ACTION, N, World

GOAL = spaces.Box(-1, 1, (2,), np.float32)
SPACE = spaces.Dict({"achieved_goal": GOAL, "desired_goal": GOAL, "observation": spaces.Box(-1, 1, (3,), np.float32)})


def reward(achieved: np.ndarray, desired: np.ndarray, level: Any = None) -> np.ndarray:
    """Far from what the goals are, and another number for each."""
    found: np.ndarray = -np.abs(achieved - desired).sum(axis=1) + 0.1 * desired[:, 0]
    return found


class Environments:
    """What HerReplayBuffer asks its environments for."""

    num_envs = N

    def env_method(self, name: str, achieved: Any, desired: Any, infos: Any, indices: Any) -> list[np.ndarray]:
        assert name == "compute_reward"
        assert len(infos) == len(achieved)
        return [reward(achieved, desired)]


class Both:
    """A replay of ours with hindsight, and SB3's buffer with the same transitions."""

    def __init__(self, rows: int, steps: int, strategy: Any = "future", batch: int = 50) -> None:
        self.replay = Replay(rows * N, N, SPACE, ACTION)
        self.hindsight = Hindsight(self.replay, HindsightReplay(4, strategy), batch)
        self.theirs = HerReplayBuffer(
            rows * N, SPACE, ACTION, Environments(), device="cpu", n_envs=N, goal_selection_strategy=strategy
        )  # type: ignore[arg-type]
        self.world = World(SPACE)
        self.step(steps)

    def step(self, steps: int = 1) -> None:
        for _ in range(steps):
            self.world.step(self.replay, self.theirs)


def ended(both: Both) -> set[tuple[int, int]]:
    """Slots and environments of all that SB3 may sample."""
    return set(zip(*map(np.ndarray.tolist, np.nonzero(both.theirs.ep_length > 0)), strict=True))


@pytest.mark.parametrize("steps", [6, 30, 31, 77, 200])
def test_what_can_be_sampled_is_what_sb3_samples(steps: int) -> None:
    """Transitions of ended episodes, each as often as any other; none of which the beginning was overwritten.

    No episode is longer than the buffer: of those, SB3 takes its last rows for a whole one.
    """
    rows = 30
    both = Both(rows, steps)
    count = len(both.hindsight)
    at = both.hindsight.positions((np.arange(count) + 0.5) / count)
    found = list(zip((at.row % rows).tolist(), at.env.tolist(), strict=True))
    assert len(found) == len(set(found))
    assert set(found) == ended(both)
    assert len(found) == count


@pytest.mark.parametrize("strategy", ["future", "final", "episode"])
@pytest.mark.parametrize("steps", [30, 77])
def test_goals_and_rewards_are_sb3s(strategy: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 30
    both = Both(rows, steps, strategy)
    rng = np.random.default_rng(0)
    at = both.hindsight.positions(rng.random(50))
    K = both.hindsight.relabelled
    assert K == 40
    uniform = rng.random(K)
    found = both.replay.steps(at)
    both.hindsight.relabel(found, at, uniform, reward)

    def randint(low: Any, high: Any = None, size: Any = None) -> np.ndarray:
        drawn: np.ndarray = (low + uniform * (np.asarray(high) - low)).astype(np.int64)
        return drawn

    monkeypatch.setattr(np.random, "randint", randint)
    virtual = both.theirs._get_virtual_samples(at.row[:K] % rows, at.env[:K])
    real = both.theirs._get_real_samples(at.row[K:] % rows, at.env[K:])
    for part, where in ((virtual, slice(0, K)), (real, slice(K, None))):
        for key in SPACE:
            np.testing.assert_array_equal(found.obs[key][where].numpy(), part.observations[key].numpy())
            np.testing.assert_array_equal(found.next_obs[key][where].numpy(), part.next_observations[key].numpy())
        np.testing.assert_allclose(found.reward[where, 0], part.rewards.numpy()[:, 0], rtol=1e-6)
        np.testing.assert_array_equal(found.terminated[where], part.dones.numpy()[:, 0] > 0)
        np.testing.assert_array_equal(found.action[where].numpy(), part.actions.numpy())


def reloaded(both: Both) -> tuple[Replay, Hindsight]:
    replay = Replay(both.replay.rows * N, N, SPACE, ACTION)
    pieces = [(piece.begin, piece.end, piece.columns()) for piece in both.replay.pieces()]
    replay.load_state_dict({**both.replay.state_dict(), "pieces": pieces})
    return replay, Hindsight(replay, HindsightReplay(), 50)


def assert_same(one: Hindsight, other: Hindsight) -> None:
    count = len(one)
    assert count == len(other)
    if count:
        uniform = np.random.default_rng(1).random(200)
        for ours, theirs in zip(
            vars(one.positions(uniform)).values(), vars(other.positions(uniform)).values(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("steps", range(1, 40, 2))
def test_a_resume_samples_the_same(steps: int) -> None:
    """Wherever it comes: the episodes are those of the rows, in the same order."""
    both = Both(12, 0)
    for _ in range(steps):
        both.step()
        len(both.hindsight)
    assert_same(both.hindsight, reloaded(both)[1])


def test_all_is_let_go_in_mid_episode() -> None:
    """What is left of an episode then does not begin where it did, also for one who comes later."""
    both = Both(12, 17)
    both.replay.forget()
    assert len(both.hindsight) == 0
    for _ in range(8):
        both.step()
        later = reloaded(both)
        assert_same(both.hindsight, later[1])
        if len(both.hindsight):
            assert both.hindsight.positions(np.zeros(1)).first[0] >= both.replay.begin


def test_an_episode_that_was_cut_off_between_two_steps_has_ended() -> None:
    both = Both(50, 9)
    len(both.hindsight)
    both.world.obs = tree_map(lambda part: part + 0.25, both.world.obs)
    both.replay.observe(both.world.obs)
    assert len(both.hindsight) == len(both.replay)
    assert_same(both.hindsight, reloaded(both)[1])


def test_the_way_back_to_a_boundary() -> None:
    both, same = Both(12, 20), Both(12, 20)
    both.replay.settle()
    both.step(9)
    len(both.hindsight)
    both.replay.roll_back()
    assert_same(both.hindsight, same.hindsight)


def test_a_state_stays_what_it_was() -> None:
    """It is kept over the iteration that follows, which may fail."""
    both = Both(12, 20)
    state = both.replay.state_dict()
    before = state["since"].tolist()
    both.step(20)
    assert both.replay.since.tolist() != before
    assert state["since"].tolist() == before


def test_observations_without_goals_are_refused() -> None:
    with pytest.raises(ConfigError, match="this environment's have no achieved_goal"):
        check_goals(spaces.Box(-1, 1, (2,)))
    with pytest.raises(ConfigError, match="no desired_goal"):
        check_goals(spaces.Dict({"achieved_goal": GOAL}))
