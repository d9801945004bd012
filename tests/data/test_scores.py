"""Mean absolute advantages of episodes over rollouts."""

from __future__ import annotations

import numpy as np

from lit_rl.data.scores import AdvantageScores


def test_an_episode_is_scored_over_the_rollouts_it_spans() -> None:
    """By hand: environment 0 ends at steps 1 and, in the next rollout, 0; environment 1 never in the first."""
    scores = AdvantageScores(2)
    first = np.array([[1.0, -2.0], [-3.0, 4.0], [5.0, 6.0]], dtype=np.float32)
    assert scores.take(first, [(1, 0)]) == [2.0]
    second = np.array([[-7.0, 0.0], [1.0, 8.0], [1.0, 1.0]], dtype=np.float32)
    assert scores.take(second, [(0, 0), (1, 1)]) == [(5 + 7) / 2, (2 + 4 + 6 + 0 + 8) / 5]


def test_a_lost_episode_goes_into_no_score() -> None:
    scores = AdvantageScores(1)
    rollout = np.array([[100.0], [100.0], [1.0], [3.0]])
    assert scores.take(rollout, [(3, 0)], broken=[(1, 0)]) == [2.0]
    assert scores.take(rollout[:2], []) == []
    scores.forget([0])
    assert scores.take(rollout[2:], [(1, 0)]) == [2.0]


def test_its_state_goes_on_with_other_environments() -> None:
    scores = AdvantageScores(2)
    scores.take(np.array([[1.0, 5.0]]), [])
    for n, there in ((1, [1.0]), (3, [1.0, 5.0])):
        other = AdvantageScores(n)
        other.load_state_dict(scores.state_dict())
        got = other.take(np.full((1, n), 3.0), [(0, i) for i in range(n)])
        assert got == [*((value + 3.0) / 2 for value in there), *([3.0] * (n - len(there)))]
