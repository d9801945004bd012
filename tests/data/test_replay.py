"""The replay against stable-baselines3's buffers, and its own promises: rows by number, files, and the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common import buffers

from lit_rl.data.replay import Replay, Sampled
from lit_rl.ops.td import bootstrap_discount, window_return
from lit_rl.ops.tree import tree_map, write_at
from lit_rl.state.plain import first_difference, to_plain
from lit_rl.state.stored import joined

N, GAMMA = 3, 0.9
BOX = spaces.Box(-np.inf, np.inf, (2,), np.float32)
DICT = spaces.Dict({"image": spaces.Box(0, 255, (1, 3, 3), np.uint8), "vector": spaces.Box(-1, 1, (2,), np.float64)})
ACTION = spaces.Box(-1, 1, (2,), np.float32)


class World:
    """Made-up environments: each observation is new, episodes end now and then, by themselves or cut off."""

    def __init__(self, space: Any = BOX, seed: int = 0) -> None:
        self.rng, self.space = np.random.default_rng(seed), space
        self.space.seed(seed)
        self.obs = self._observations()

    def _observations(self) -> Any:
        drawn = [self.space.sample() for _ in range(N)]
        return tree_map(lambda *parts: np.stack(parts), *drawn)

    def step(self, *takers: Any) -> None:
        """One step, given to every taker: a replay of ours, or a buffer of stable-baselines3's."""
        before, self.obs = self.obs, self._observations()
        action, reward = self.rng.uniform(-1, 1, (N, 2)).astype(np.float32), self.rng.normal(size=N)
        ended = self.rng.random(N) < 0.25
        terminated = ended & (self.rng.random(N) < 0.5)
        truncated = ended & ~terminated
        finals = [(int(i), self.space.sample()) for i in np.flatnonzero(ended)]
        for taker in takers:
            if isinstance(taker, Replay):
                taker.observe(before)
                taker.add(action, reward, terminated, truncated, self.obs, finals)
            else:
                led_to = tree_map(np.array, self.obs)
                for i, final in finals:
                    write_at(led_to, i, final)
                infos = [{"TimeLimit.truncated": bool(flag)} for flag in truncated]
                taker.add(before, led_to, action, reward.astype(np.float32), ended, infos)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("steps", [5, 12, 31])
def test_what_is_sampled_equals_stable_baselines3s(n: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is full, when it just is, and wrapped round; with episodes that end either way, and at the newest."""
    rows = 12
    replay = Replay(rows * N, N, BOX, ACTION)
    arguments: dict[str, Any] = {"n_envs": N, "device": "cpu"}
    if n == 1:
        theirs = buffers.ReplayBuffer(rows * N, BOX, ACTION, **arguments)
    else:
        theirs = buffers.NStepReplayBuffer(rows * N, BOX, ACTION, **arguments, n_steps=n, gamma=GAMMA)
    world = World()
    for _ in range(steps):
        world.step(replay, theirs)
    row, env = (part.flatten() for part in np.meshgrid(np.arange(replay.begin, replay.end), np.arange(N)))
    assert len(row) == len(replay) == N * min(steps, rows)
    monkeypatch.setattr(np.random, "randint", lambda *_, **__: env)
    wanted = theirs._get_samples(row % rows)
    found = replay.steps(Sampled(row, env), n)
    np.testing.assert_array_equal(found.obs.numpy(), wanted.observations.numpy())
    np.testing.assert_array_equal(found.action.numpy(), wanted.actions.numpy())
    np.testing.assert_allclose(window_return(found.reward, GAMMA), wanted.rewards.numpy()[:, 0], rtol=1e-5)
    discount = bootstrap_discount(found.length, found.terminated, GAMMA)
    theirs_discount = GAMMA if wanted.discounts is None else wanted.discounts.numpy()[:, 0]
    np.testing.assert_allclose(discount, (1 - wanted.dones.numpy()[:, 0]) * theirs_discount, rtol=1e-6)
    np.testing.assert_array_equal(found.next_obs.numpy(), wanted.next_observations.numpy())


def test_each_transition_is_as_likely_as_any() -> None:
    replay, world = Replay(5 * N, N, BOX, ACTION), World()
    for _ in range(8):
        world.step(replay)
    at = replay.positions(np.arange(1500) / 1500)
    count = np.zeros((8, N))
    np.add.at(count, (at.row, at.env), 1)
    assert (count[:3] == 0).all()
    assert (count[3:] == 100).all()


def saved(replay: Replay) -> dict[str, Any]:
    """As it comes back from a checkpoint."""
    pieces = [(piece.begin, piece.end, piece.columns()) for piece in replay.pieces()]
    return {**to_plain(replay.state_dict()), "pieces": pieces}


def content(replay: Replay) -> Any:
    return to_plain(joined(saved(replay)))


@pytest.mark.parametrize("space", [BOX, DICT], ids=["Box", "Dict"])
@pytest.mark.parametrize("steps", [0, 1, 7, 20, 45])
def test_what_comes_back_is_what_was_saved_and_goes_on_alike(space: Any, steps: int) -> None:
    replay, world = Replay(20 * N, N, space, ACTION), World(space)
    replay.segment_rows = 4
    for _ in range(steps):
        world.step(replay)
    back = Replay(20 * N, N, space, ACTION)
    back.segment_rows = 4
    back.load_state_dict(saved(replay))
    assert first_difference(content(back), content(replay)) is None
    for _ in range(30):
        world.step(replay, back)
    assert first_difference(content(back), content(replay)) is None
    at = replay.positions(np.random.default_rng(0).random(200))
    assert first_difference(*(to_plain(vars(each.steps(at, 3))) for each in (replay, back))) is None


def test_a_smaller_replay_keeps_the_newest() -> None:
    replay, world = Replay(20 * N, N, BOX, ACTION), World()
    for _ in range(30):
        world.step(replay)
    smaller = Replay(7 * N, N, BOX, ACTION)
    smaller.load_state_dict(saved(replay))
    assert (smaller.begin, smaller.end) == (23, 30)
    at = Sampled(np.repeat(np.arange(23, 30), N), np.tile(np.arange(N), 7))
    assert first_difference(*(to_plain(vars(each.steps(at, 2))) for each in (replay, smaller))) is None


def test_what_is_complete_is_never_written_anew() -> None:
    """One name, one content: but for the oldest rows, which go."""
    replay, world = Replay(12 * N, N, BOX, ACTION), World()
    replay.segment_rows = 4
    seen: dict[str, Any] = {}
    for _ in range(40):
        world.step(replay)
        pieces = list(replay.pieces())
        assert [piece.begin for piece in pieces[1:]] == [piece.end for piece in pieces[:-1]]
        assert (pieces[0].begin, pieces[-1].end) == (replay.begin, replay.end)
        assert not pieces[-1].complete
        for piece in pieces[:-1]:
            assert piece.complete
            columns = piece.columns()
            first = seen.setdefault(piece.name, columns)
            for name in ("obs", "action", "reward", "terminated", "truncated", "level"):
                np.testing.assert_array_equal(first[name][-(piece.end - piece.begin) :], columns[name])


@pytest.mark.parametrize("before", [0, 3, 9, 30])
@pytest.mark.parametrize("after", [1, 5, 15])
def test_the_way_back_to_a_boundary(before: int, after: int) -> None:
    replay, world = Replay(9 * N, N, DICT, ACTION), World(DICT)
    for _ in range(before):
        world.step(replay)
    replay.settle()
    wanted = content(replay)
    for _ in range(after):
        world.step(replay)
        if after == 5:
            replay.forget()
    replay.roll_back()
    assert first_difference(content(replay), wanted) is None


def test_an_environment_that_was_made_anew_ends_its_transition() -> None:
    """It no longer shows what its last step led to: that transition is cut off there, and leads where it led."""
    replay, world = Replay(10 * N, N, BOX, ACTION), World()
    for _ in range(3):
        world.step(replay)
    led_to = world.obs[1].copy()
    done_already = bool(replay.steps(Sampled(np.array([2]), np.array([1]))).terminated[0])
    world.obs[1] = 99.0
    world.step(replay)
    assert not done_already
    found = replay.steps(Sampled(np.array([2, 3]), np.array([1, 1])), 2)
    np.testing.assert_array_equal(found.next_obs[0].numpy(), led_to)
    assert found.length[0] == 1
    np.testing.assert_array_equal(found.obs[1].numpy(), np.full(2, 99.0, np.float32))


def test_forgetting_leaves_nothing_to_sample() -> None:
    replay, world = Replay(10 * N, N, BOX, ACTION), World()
    for _ in range(4):
        world.step(replay)
    replay.forget()
    assert len(replay) == 0
    world.step(replay)
    assert (replay.positions(np.array([0.0, 0.999])).row == 4).all()


def test_observations_are_stored_once() -> None:
    space = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    needed = Replay.bytes_needed(1000, 1, space, spaces.Discrete(4))
    assert needed < 1001 * (4 * 84 * 84 + 32)


def test_single_numbers_come_back_from_a_state() -> None:
    """Observations of a Discrete space are numbers, and so is what an episode ended with."""
    replay = Replay(10, 1, spaces.Discrete(5), spaces.Discrete(2))
    replay.observe(np.array([1]))
    zero, one = np.zeros(1, bool), np.ones(1, bool)
    replay.add(np.array([1]), np.array([0.5]), zero, one, np.array([2]), [(0, np.int64(4))])
    again = Replay(10, 1, spaces.Discrete(5), spaces.Discrete(2))
    pieces = [(piece.begin, piece.end, piece.columns()) for piece in replay.pieces()]
    again.load_state_dict({**replay.state_dict(), "pieces": pieces})
    at = Sampled(np.array([0]), np.array([0]))
    assert again.steps(at).next_obs.tolist() == replay.steps(at).next_obs.tolist() == [4]
