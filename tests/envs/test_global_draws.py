"""Environments in this process that draw from NumPy's and Python's global streams, which are not theirs to save."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lit_rl.envs.config import EnvConfig
from lit_rl.envs.sync import SyncVectorEnv
from lit_rl.state.plain import to_plain, with_arrays
from lit_rl.state.streams import capture_streams, restore_streams
from tests.helpers import envs
from tests.helpers.vector import as_bytes, record, sync

N = 3
ACTIONS = np.random.default_rng(2).choice([0, 1, 2, 2, 2, 2, 2], size=(120, N))
"""To the right more often than not: most episodes end by themselves, some are cut off."""


@pytest.fixture(autouse=True)
def streams() -> Iterator[None]:
    """Global streams from a seed, and those of the other tests put back."""
    before = capture_streams()
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    yield
    restore_streams(before)


def config_of(name: str) -> EnvConfig:
    return EnvConfig(class_path=envs.PATH + name, n_envs=N, max_episode_steps=12)


def global_streams() -> tuple[Any, ...]:
    """Where NumPy's and Python's stand, for comparing."""
    name, key, *rest = np.random.get_state()  # noqa: NPY002
    return name, key.tobytes(), rest, random.getstate()


def play(venv: SyncVectorEnv, actions: np.ndarray) -> list[Any]:
    """Step by step everything that the environments send, and where it leaves the global streams."""
    return [(record(venv.step(action)), global_streams()) for action in actions]


def in_flight(name: str) -> tuple[SyncVectorEnv, list[dict[str, Any]], dict[str, Any], np.ndarray]:
    """Environments that are all in mid-episode, their states as a checkpoint gives them, the global streams then, and
    the actions that are left."""
    venv = sync(config_of(name))
    venv.reset()
    play(venv, ACTIONS[:20])
    for t in range(20, 40):
        states: list[dict[str, Any]] = with_arrays(to_plain(venv.capture()))
        if all(len(state["actions"]) > 1 for state in states):
            return venv, states, capture_streams(), ACTIONS[t:]
        play(venv, ACTIONS[t : t + 1])
    raise AssertionError("never are all in mid-episode")


def test_they_go_on_with_the_same_bits_if_the_streams_are_put_back_after_them() -> None:
    venv, states, streams, rest = in_flight("GlobalPrize")
    straight = play(venv, rest)
    terminated = [result[2] for result, _ in straight]
    assert sum(flags.count(b"\1") for *_, flags in terminated) > 10, "episodes end, and their prizes show"
    np.random.normal(size=11), random.random()  # noqa: NPY002
    other = sync(config_of("GlobalPrize"))
    _, lost = other.restore(states)
    assert lost == []
    restore_streams(streams)
    assert play(other, rest) == straight


def test_the_order_matters() -> None:
    """Episodes that are brought back are played again, which draws: streams that were put back before have moved."""
    venv, states, streams, rest = in_flight("GlobalPrize")
    straight = play(venv, rest)
    other = sync(config_of("GlobalPrize"))
    restore_streams(streams)
    assert other.restore(states)[1] == []
    (_, moved), (_, expected) = play(other, rest)[0], straight[0]
    assert moved[1:3] != expected[1:3], "NumPy's"
    assert moved[3] != expected[3], "Python's"


def test_capturing_draws_nothing() -> None:
    venv, *_ = in_flight("GlobalPrize")
    before = global_streams()
    venv.capture()
    assert global_streams() == before


def test_what_they_have_shown_of_their_draws_cannot_be_brought_back_and_what_follows_is_the_same_each_time() -> None:
    _, states, streams, rest = in_flight("GlobalNoise")
    played = []
    for _ in range(2):
        np.random.normal(size=5), random.random()  # noqa: NPY002
        other = sync(config_of("GlobalNoise"))
        obs, lost = other.restore(states)
        assert lost == [0, 1, 2]
        assert [state["episode"] for state in other.capture()] == [state["episode"] + 1 for state in states]
        restore_streams(streams)
        played.append((as_bytes(obs), play(other, rest)))
    assert played[0] == played[1]
