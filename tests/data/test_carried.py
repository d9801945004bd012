"""Another run's rows as what came before: their numbers, what was in flight, and types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from lit_rl.data.carried import carry_over
from lit_rl.data.config import HindsightReplay, PrioritizedReplay
from lit_rl.data.hindsight import Hindsight
from lit_rl.data.priorities import Priorities
from lit_rl.data.replay import Replay, Sampled
from lit_rl.ops.tree import leaves
from tests.data.test_replay import ACTION, BOX, DICT, World

N = 3
SPACES = {"box": BOX, "Dict": DICT, "doubles": spaces.Box(-1, 1, (2,), np.float64)}


def state_of(replay: Replay) -> dict[str, Any]:
    pieces = [(piece.begin, piece.end, piece.columns()) for piece in replay.pieces()]
    return {**replay.state_dict(), "pieces": pieces}


def played(space: Any, steps: int, rows: int = 20) -> Replay:
    replay = Replay(rows * N, N, space, ACTION)
    replay.segment_rows = 4
    world = World(space)
    for _ in range(steps):
        world.step(replay)
    return replay


@pytest.mark.parametrize("steps", [1, 7, 20, 33])
@pytest.mark.parametrize("kind", SPACES)
def test_what_is_sampled_is_the_same_before_and_after(kind: str, steps: int) -> None:
    """Of every row, also of the newest, which was in flight and leads where it led."""
    old = played(SPACES[kind], steps)
    new = Replay(20 * N, N, SPACES[kind], ACTION)
    assert carry_over(new, state_of(old), "there") == len(old) == len(new)
    assert new.end == 0
    row, env = (grid.reshape(-1) for grid in np.meshgrid(np.arange(old.begin, old.end), np.arange(N), indexing="ij"))
    for n in (1, 3):
        theirs, ours = old.steps(Sampled(row, env), n), new.steps(Sampled(row - old.end, env), n)
        for a, b in zip(leaves(vars(theirs)), leaves(vars(ours)), strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
            assert a.dtype == b.dtype
    columns = new.columns(new.begin, 0)
    assert (columns["terminated"] | columns["truncated"])[-1].all()
    for name, column in columns.items():
        if name.startswith("finals"):
            assert column.dtype == columns[f"obs{name.removeprefix('finals')}"].dtype


@pytest.mark.parametrize("more", [3, 19, 20, 47])
def test_a_replay_goes_on_as_one_that_has_been_saved_in_between(more: int) -> None:
    """Rows go when the ring comes round to them, below 0 and above; episodes and priorities follow."""
    old, world = played(BOX, 33), World(seed=5)
    straight, saved = (Replay(20 * N, N, BOX, ACTION) for _ in range(2))
    for replay in (straight, saved):
        replay.segment_rows = 4
        carry_over(replay, state_of(old), "there")
    for _ in range(more):
        world.step(straight, saved)
        again = Replay(20 * N, N, BOX, ACTION)
        again.segment_rows = 4
        again.load_state_dict(state_of(saved))
        saved = again
    assert (straight.begin, straight.end) == (saved.begin, saved.end) == (more - 20, more)
    ours, theirs = straight.columns(straight.begin, more), saved.columns(saved.begin, more)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    np.testing.assert_array_equal(straight.since, saved.since)
    uniform = (np.arange(64) + 0.5) / 64
    found = [Hindsight(replay, HindsightReplay(), 8).positions(uniform) for replay in (straight, saved)]
    for name in ("row", "env", "first", "last"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))
    assert (found[0].first >= straight.begin).all()


def test_priorities_begin_with_the_highest_and_follow() -> None:
    replay = Replay(20 * N, N, BOX, ACTION)
    carry_over(replay, state_of(played(BOX, 10)), "there")
    priorities = Priorities(replay, PrioritizedReplay())
    priorities.begin_at(replay.begin)
    at = priorities.positions((np.arange(30) + 0.5) / 30)
    assert sorted(zip(at.row.tolist(), at.env.tolist(), strict=True)) == [
        (r, e) for r in range(-10, 0) for e in range(N)
    ]
    priorities.update(Sampled(np.array([-10]), np.array([0])), np.array([100.0]))
    world = World(seed=1)
    for _ in range(15):
        world.step(replay)
    at = priorities.positions((np.arange(500) + 0.5) / 500)
    assert at.row.min() == replay.begin == -5
    assert at.row.max() == 14


def test_rolling_back_before_the_first_row() -> None:
    """An error in the first iteration: what the ring has lost of the other run's rows is back."""
    replay = Replay(20 * N, N, BOX, ACTION)
    carry_over(replay, state_of(played(BOX, 33)), "there")
    before = replay.columns(-20, 0)
    replay.settle()
    world = World(seed=1)
    for _ in range(9):
        world.step(replay)
    replay.roll_back()
    assert (replay.begin, replay.end) == (-20, 0)
    for name, column in replay.columns(-20, 0).items():
        np.testing.assert_array_equal(column, before[name])
