"""Priorities against sums worked out by hand, and their own promises: a tree of its leaves alone, and the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lit_rl.data.config import PrioritizedReplay
from lit_rl.data.priorities import Priorities
from lit_rl.data.replay import Replay, Sampled
from lit_rl.errors import ConfigError
from lit_rl.state.plain import first_difference, to_plain
from lit_rl.state.stored import joined
from tests.data.test_replay import ACTION, BOX, N, World

CONFIG = PrioritizedReplay(alpha=0.5, beta=0.4, epsilon=0.01)


class Filled:
    """A replay of 12 rows with priorities, and what they are, in a dictionary by row and environment."""

    def __init__(self, seed: int = 0) -> None:
        self.replay = Replay(12 * N, N, BOX, ACTION)
        self.priorities = Priorities(self.replay, CONFIG)
        self.world, self.rng = World(seed=seed), np.random.default_rng(seed)
        self.wanted: dict[tuple[int, int], np.float32] = {}
        self.highest = np.float32(1.0)

    def step(self, steps: int = 1) -> None:
        for _ in range(steps):
            self.world.step(self.replay)
            self.wanted |= {(self.replay.end - 1, env): self.highest for env in range(N)}
        self.wanted = {key: value for key, value in self.wanted.items() if key[0] >= self.replay.begin}

    def learn(self, batch: int = 8) -> Sampled:
        at = self.priorities.positions(self.rng.random(batch))
        error = self.rng.normal(size=batch).astype(np.float32) * 3
        pairs = list(zip(at.row.tolist(), at.env.tolist(), strict=True))
        error = np.array([error[pairs.index(pair)] for pair in pairs])  # of one transition, one error
        self.priorities.update(at, error)
        for pair, value in zip(pairs, error, strict=True):
            self.wanted[pair] = np.float32((abs(np.float64(value)) + 0.01) ** 0.5)
            self.highest = max(self.highest, self.wanted[pair])
        return at

    def leaves(self) -> dict[tuple[int, int], np.float32]:
        state = self.priorities.state_dict()
        column = self.priorities.columns(state["begin"], state["end"])["priority"]
        return {(state["begin"] + row, env): column[row, env] for row in range(len(column)) for env in range(N)}


def state_of(priorities: Priorities) -> Any:
    pieces = [(piece.begin, piece.end, piece.columns()) for piece in priorities.pieces()]
    return to_plain({**priorities.state_dict(), "pieces": pieces})


@pytest.mark.parametrize("seed", range(3))
def test_leaves_are_what_was_learned_and_new_ones_the_highest(seed: int) -> None:
    """Before it is full, wrapped round, and after all was let go."""
    filled = Filled(seed)
    for round_ in range(40):
        filled.step(1 + round_ % 3)
        filled.learn()
        assert filled.leaves() == filled.wanted
        if round_ == 25:
            filled.replay.forget()
            filled.step()
            assert len(filled.leaves()) == N


def test_positions_come_by_their_share_of_the_sum() -> None:
    filled = Filled()
    for _ in range(20):
        filled.step()
        filled.learn()
    total = sum(map(float, filled.wanted.values()))
    batch = 20_000
    at = filled.priorities.positions(np.full(batch, 0.5))
    found: dict[tuple[int, int], int] = {}
    for pair in zip(at.row.tolist(), at.env.tolist(), strict=True):
        found[pair] = found.get(pair, 0) + 1
    for pair, priority in filled.wanted.items():
        assert found.get(pair, 0) == pytest.approx(batch * float(priority) / total, abs=2)
    weight = filled.priorities.weights(at, 0.7)
    chance = np.array(
        [float(filled.wanted[pair]) / total for pair in zip(at.row.tolist(), at.env.tolist(), strict=True)]
    )
    wanted = (len(filled.replay) * chance) ** -0.7
    np.testing.assert_allclose(weight, wanted / wanted.max(), rtol=1e-9)


def test_the_ends_of_the_sum_are_transitions_that_are_there() -> None:
    filled = Filled()
    filled.step(5)
    filled.learn(64)
    for uniform in (0.0, np.nextafter(1.0, 0.0)):
        at = filled.priorities.positions(np.full(1, uniform))
        assert (int(at.row[0]), int(at.env[0])) in filled.wanted


def test_an_error_that_is_not_finite_changes_nothing() -> None:
    filled = Filled()
    filled.step(3)
    at = Sampled(np.array([0, 1, 2]), np.array([0, 1, 2]))
    filled.priorities.update(at, np.array([np.nan, np.inf, 8.99]))
    filled.wanted[2, 2] = np.float32(3.0)
    assert filled.leaves() == filled.wanted


def test_a_state_brings_everything_back_to_the_bit() -> None:
    """Sums too: what follows is sampled alike, and the same, whatever the way that led there."""
    filled = Filled()
    for _ in range(30):
        filled.step()
        filled.learn()
    other = Priorities(filled.replay, CONFIG)
    other.load_state_dict(state_of(filled.priorities))
    np.testing.assert_array_equal(other._tree, filled.priorities._tree)
    for _ in range(30):
        uniform, error = filled.rng.random(8), filled.rng.normal(size=8)
        filled.step()
        found = [each.positions(uniform) for each in (filled.priorities, other)]
        np.testing.assert_array_equal(found[0].row, found[1].row)
        np.testing.assert_array_equal(found[0].env, found[1].env)
        for each, at in zip((filled.priorities, other), found, strict=True):
            each.update(at, error)
    assert first_difference(joined(state_of(filled.priorities)), joined(state_of(other)), "priorities") is None


def test_a_smaller_replay_keeps_the_newest() -> None:
    filled = Filled()
    for _ in range(30):
        filled.step()
        filled.learn()
    small = Replay(5 * N, N, BOX, ACTION)
    pieces = [(piece.begin, piece.end, piece.columns()) for piece in filled.replay.pieces()]
    small.load_state_dict({**filled.replay.state_dict(), "pieces": pieces})
    priorities = Priorities(small, CONFIG)
    priorities.load_state_dict(state_of(filled.priorities))
    column = priorities.columns(25, 30)["priority"]
    assert {(25 + row, env): column[row, env] for row in range(5) for env in range(N)} == {
        key: value for key, value in filled.wanted.items() if key[0] >= 25
    }


@pytest.mark.parametrize("steps", [3, 30])
def test_the_way_back_to_a_boundary(steps: int) -> None:
    filled = Filled()
    for _ in range(steps):
        filled.step()
        filled.learn()
    filled.replay.settle()
    filled.priorities.settle()
    before, tree = state_of(filled.priorities), filled.priorities._tree.copy()
    for _ in range(steps + 3):
        filled.step()
        filled.learn()
    filled.replay.roll_back()
    filled.priorities.roll_back()
    np.testing.assert_array_equal(filled.priorities._tree, tree)
    assert first_difference(before, state_of(filled.priorities), "priorities") is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"alpha": -1.0}, "model.prioritized_replay.alpha is -1.0; it must be at least 0"),
        ({"epsilon": 0.0}, "model.prioritized_replay.epsilon is 0.0; it must be above 0"),
        ({"beta": "high"}, "model.prioritized_replay.beta"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PrioritizedReplay(**settings)
