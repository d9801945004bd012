"""stable-baselines3's replay pickles: what is sampled here is what its own buffer gives, and nothing in them is run."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common import buffers
from stable_baselines3.common.save_util import save_to_pkl
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from lit_rl.data.carried import carry_over
from lit_rl.data.config import HindsightReplay
from lit_rl.data.hindsight import Hindsight
from lit_rl.data.replay import Replay, Sampled
from lit_rl.errors import ConfigError, DataError
from lit_rl.interop.replay_pickle import find_replay, read_replay
from lit_rl.ops.td import bootstrap_discount, window_return
from lit_rl.ops.tree import leaves, tree_map, write_at
from tests.interop.hostile import Touch

ROWS, GAMMA = 16, 0.9
BOX = spaces.Box(-np.inf, np.inf, (2,), np.float32)
IMAGE = spaces.Box(0, 255, (1, 3, 3), np.uint8)
GOALS = spaces.Dict(dict.fromkeys(("observation", "achieved_goal", "desired_goal"), BOX))
MIXED = spaces.Dict({"image": IMAGE, "doubles": spaces.Box(-1, 1, (2,), np.float64), "place": spaces.Discrete(4)})
CONTINUOUS, DISCRETE = spaces.Box(-2.0, 2.0, (2,), np.float32), spaces.Discrete(3)
STORED = {id(CONTINUOUS): spaces.Box(-1.0, 1.0, (2,), np.float32), id(DISCRETE): DISCRETE}


def fill(buffer: Any, steps: int, seed: int = 0) -> Any:
    """Made-up play: episodes end now and then, by themselves or by a time limit."""
    rng, N = np.random.default_rng(seed), buffer.n_envs
    buffer.observation_space.seed(seed)

    def drawn() -> Any:
        obs = [buffer.observation_space.sample() for _ in range(N)]
        if isinstance(obs[0], dict):
            return {key: np.stack([each[key] for each in obs]) for key in obs[0]}
        return np.stack(obs)

    obs = drawn()
    for _ in range(steps):
        after = drawn()
        done = rng.random(N) < 0.3
        timeout = done & (rng.random(N) < 0.5)
        led_to = tree_map(np.array, after)
        for env in np.flatnonzero(done):
            write_at(led_to, int(env), buffer.observation_space.sample())
        if buffer.optimize_memory_usage:
            led_to = after
        action = rng.integers(3, size=N) if buffer.action_space is DISCRETE else rng.uniform(-1, 1, (N, 2))
        reward = rng.normal(size=N).astype(np.float32)
        infos = [{"TimeLimit.truncated": bool(flag)} for flag in timeout]
        buffer.add(tree_map(np.array, obs), led_to, action.astype(buffer.actions.dtype), reward, done, infos)
        obs = after
    return buffer


def saved(path: Path, buffer: Any) -> Path:
    save_to_pkl(path, buffer)
    return path


def taken(path: Path, observation_space: Any, action_space: Any, n_envs: int, capacity: int = 1000) -> Replay:
    """A replay of ours that begins with a pickle."""
    replay = Replay(capacity, n_envs, observation_space, STORED.get(id(action_space), action_space))
    carry_over(replay, read_replay(path).state(replay.columns(0, 0), {}), str(path))
    return replay


KINDS: dict[str, Callable[[int], Any]] = {
    "plain": lambda N: buffers.ReplayBuffer(ROWS * N, BOX, CONTINUOUS, "cpu", N),
    "discrete": lambda N: buffers.ReplayBuffer(ROWS * N, spaces.Discrete(5), DISCRETE, "cpu", N),
    "images, shared": lambda N: buffers.ReplayBuffer(ROWS * N, IMAGE, DISCRETE, "cpu", N, True, False),
    "no time limits": lambda N: buffers.ReplayBuffer(ROWS * N, BOX, CONTINUOUS, "cpu", N, False, False),
    "n-step": lambda N: buffers.NStepReplayBuffer(ROWS * N, BOX, CONTINUOUS, "cpu", N, n_steps=3, gamma=GAMMA),
    "Dict": lambda N: buffers.DictReplayBuffer(ROWS * N, MIXED, CONTINUOUS, "cpu", N),
    "hindsight": lambda N: HerReplayBuffer(ROWS * N, GOALS, CONTINUOUS, None, "cpu", N),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("steps", [7, ROWS, 41])
@pytest.mark.parametrize("N", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sampled_is_stable_baselines3s(
    tmp_path: Path, kind: str, N: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every transition that it can sample: not full, full, wrapped round."""
    buffer = fill(KINDS[kind](N), steps)
    path = saved(tmp_path / "replay.pkl", buffer)
    replay = taken(path, buffer.observation_space, buffer.action_space, N)
    shared = buffer.optimize_memory_usage and buffer.full
    first = (buffer.pos + shared) % ROWS if buffer.full else 0
    count = (ROWS - shared) if buffer.full else buffer.pos
    assert (replay.begin, replay.end) == (-count, 0)
    k, env = (grid.reshape(-1) for grid in np.meshgrid(np.arange(count), np.arange(N), indexing="ij"))
    with monkeypatch.context() as patch:
        patch.setattr(np.random, "randint", lambda *_, **__: env)
        theirs = buffers_samples(buffer, (first + k) % ROWS, env)
    n = buffer.n_steps if kind == "n-step" else 1
    steps_ = replay.steps(Sampled(k - count, env), n)
    for mine, other in zip(leaves(steps_.obs), leaves(theirs.observations), strict=True):
        np.testing.assert_array_equal(mine.numpy(), other.numpy().reshape(mine.shape).astype(mine.numpy().dtype))
    for mine, other in zip(leaves(steps_.next_obs), leaves(theirs.next_observations), strict=True):
        np.testing.assert_array_equal(mine.numpy(), other.numpy().reshape(mine.shape).astype(mine.numpy().dtype))
    np.testing.assert_array_equal(steps_.action.numpy(), theirs.actions.numpy().reshape(steps_.action.shape))
    np.testing.assert_allclose(window_return(steps_.reward, GAMMA), theirs.rewards.numpy()[:, 0], rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(steps_.terminated, theirs.dones.numpy()[:, 0] > 0)
    if n > 1:
        mine = bootstrap_discount(steps_.length, steps_.terminated, GAMMA)
        np.testing.assert_allclose(mine, (theirs.discounts * (1 - theirs.dones)).numpy()[:, 0], rtol=1e-6)


def buffers_samples(buffer: Any, rows: np.ndarray, env: np.ndarray) -> Any:
    if isinstance(buffer, HerReplayBuffer):
        return buffer._get_real_samples(rows, env)
    return buffer._get_samples(rows)


@pytest.mark.parametrize("steps", [9, ROWS, 41, 57])
def test_hindsight_samples_the_same_transitions(tmp_path: Path, steps: int) -> None:
    """Episodes that are there from their beginning on, and those that were in flight, which SB3 cuts off as well."""
    buffer = fill(KINDS["hindsight"](3), steps)
    path = saved(tmp_path / "replay.pkl", buffer)
    replay = taken(path, GOALS, CONTINUOUS, 3)
    hindsight = Hindsight(replay, HindsightReplay(), 8)
    with pytest.warns(UserWarning, match="truncated"):
        buffer.truncate_last_trajectory()
    rows, env = np.nonzero(buffer.ep_length > 0)
    first = buffer.pos if buffer.full else 0
    theirs = sorted(zip(((rows - first) % ROWS - len(replay) // 3).tolist(), env.tolist(), strict=True))
    at = hindsight.positions((np.arange(len(hindsight)) + 0.5) / len(hindsight))
    assert sorted(zip(at.row.tolist(), at.env.tolist(), strict=True)) == theirs
    begins = {(int(row), int(e)): int(f) for row, e, f in zip(at.row, at.env, at.first, strict=True)}
    for row, e in theirs:
        start = buffer.ep_start[(row + len(replay) // 3 + first) % ROWS, e]
        assert (start - first) % ROWS - len(replay) // 3 == begins[row, e]


def test_each_observation_is_there_once_and_what_does_not_follow_is_cut_off(tmp_path: Path) -> None:
    """A second `learn` begins its environments anew without a word in the buffer."""
    buffer = fill(buffers.ReplayBuffer(50, BOX, CONTINUOUS, "cpu", 1), 5)
    fill(buffer, 5, seed=1)
    buffer.dones[4] = buffer.timeouts[4] = 0.0
    replay = taken(saved(tmp_path / "replay.pkl", buffer), BOX, CONTINUOUS, 1)
    columns = replay.columns(-10, 0)
    ended = (columns["terminated"] | columns["truncated"])[:, 0]
    np.testing.assert_array_equal(np.flatnonzero(ended), np.unique([*np.flatnonzero(buffer.dones[:10, 0]), 4, 9]))
    assert len(columns["finals"]) == ended.sum()
    np.testing.assert_array_equal(replay.steps(Sampled(np.array([-6]), np.array([0])), 3).length, [1])
    assert columns["truncated"][[4, 9], 0].any()


def test_a_smaller_replay_keeps_the_newest(tmp_path: Path) -> None:
    buffer = fill(KINDS["plain"](2), 41)
    replay = taken(saved(tmp_path / "replay.pkl", buffer), BOX, CONTINUOUS, 2, capacity=10)
    assert (replay.begin, replay.end, len(replay)) == (-5, 0, 10)
    newest = [(buffer.pos - 5 + k) % ROWS for k in range(5)]
    np.testing.assert_array_equal(replay.columns(-5, 0)["reward"], buffer.rewards[newest])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(tmp_path: Path, protocol: int) -> None:
    buffer = fill(KINDS["plain"](2), 20)
    path = tmp_path / "replay.pkl"
    path.write_bytes(pickle.dumps(buffer, protocol))
    if protocol == 2:  # writes bytes as text that has to be turned back
        with pytest.raises(DataError, match=r"refused to import '_codecs\.encode'"):
            read_replay(path)
    else:
        assert read_replay(path).count == ROWS


def test_reading_takes_little_memory(tmp_path: Path) -> None:
    """The file's arrays are looked at where they lie; what is there at once is a few pieces of them."""
    large = spaces.Box(0, 255, (3, 64, 64), np.uint8)
    buffer = buffers.ReplayBuffer(2000, large, DISCRETE, "cpu", 1)
    buffer.pos, buffer.full = 0, True
    path = saved(tmp_path / "replay.pkl", buffer)
    size = path.stat().st_size
    assert size > 48_000_000
    del buffer
    replay = Replay(10, 1, large, DISCRETE)
    tracemalloc.start()
    carry_over(replay, read_replay(path).state(replay.columns(0, 0), {"action": 3}), "there")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 2
    assert len(replay) == 10


def test_infos_that_hindsight_keeps(tmp_path: Path) -> None:
    buffer = HerReplayBuffer(40, GOALS, CONTINUOUS, None, "cpu", 1, copy_info_dict=True)  # type: ignore[arg-type]
    fill(buffer, 20)
    buffer.infos[0, 0] = {"is_success": np.float64(1.0), "final": np.zeros(3), "why": "there"}
    assert read_replay(saved(tmp_path / "replay.pkl", buffer)).count == 20


# -- hostile, damaged, of something else ------------------------------------------------------------------------------


class OwnBuffer(buffers.ReplayBuffer):
    """A class of somebody's own."""


def test_a_buffer_of_ones_own_is_named(tmp_path: Path) -> None:
    buffer = OwnBuffer(4, BOX, CONTINUOUS, "cpu")
    with pytest.raises(DataError, match=r"refused to import 'tests\.interop\.test_replay_pickle\.OwnBuffer' at byte"):
        read_replay(saved(tmp_path / "replay.pkl", buffer))


@pytest.mark.parametrize("where", ["attribute", "observations", "infos", "space", "device"])
def test_a_pickle_that_runs_code(tmp_path: Path, marker: Path, where: str) -> None:
    """The same bytes do make the marker when stable-baselines3 loads them."""
    buffer: Any = HerReplayBuffer(4, GOALS, CONTINUOUS, None, "cpu", 1)  # type: ignore[arg-type]
    evil = Touch(marker)
    if where == "attribute":
        buffer.extra = evil
    elif where == "observations":
        buffer.observations["observation"] = evil
    elif where == "infos":
        buffer.infos[0, 0] = {"x": evil}
    elif where == "space":
        buffer.action_space = evil
    else:
        buffer.device = evil
    path = saved(tmp_path / "replay.pkl", buffer)
    pickle.loads(path.read_bytes())
    assert marker.exists()
    marker.unlink()
    with pytest.raises(DataError, match=r"replay\.pkl: refused to import '\w*\.?open' at byte \d+; nothing was run\.$"):
        read_replay(path)


def test_anything_cut_off_is_one_line(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.pkl", fill(KINDS["hindsight"](1), 5)).read_bytes()
    path = tmp_path / "replay.pkl"
    for length in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError) as caught:
            read_replay(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DataError, match="data behind its pickle"):
        read_replay(path)


def test_flipped_bytes_are_one_line_or_other_numbers(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.pkl", fill(KINDS["plain"](1), 9)).read_bytes()
    path, rng = tmp_path / "replay.pkl", np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        text = ""
        try:
            taken(path, BOX, CONTINUOUS, 1)
        except (DataError, ConfigError) as error:
            text = str(error)
        assert "\n" not in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pos": 99}, "pos is 99 of 16 rows"),
        ({"full": 1}, "full is not true or false"),
        ({"rewards": np.zeros(16)}, "and not one of rows and environments"),
        ({"dones": np.zeros((3, 1))}, "done has shape (3, 1) beside rewards of (16, 1)"),
        ({"actions": np.zeros((16, 1))}, "action has shape (16, 1)"),
        ({"next_observations": np.zeros((16, 1, 5), np.float32)}, "next_obs is not like obs"),
        ({"observations": "none"}, "observations is not a number or an array"),
        ({"actions": np.array([[None]])}, "actions is not a number or an array of numbers"),
    ],
)
def test_what_is_not_whole(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    buffer = fill(KINDS["plain"](1), 9)
    vars(buffer).update(change)
    with pytest.raises(DataError) as caught:
        read_replay(saved(tmp_path / "replay.pkl", buffer))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("rewards", np.nan, "reward holds values that are not finite"),
        ("next_observations", np.inf, "observations holds values that are not finite"),
        ("actions", 1.5, "action holds values outside -1 to 1"),
        ("dones", 0.5, "dones holds something other than 0 and 1"),
        ("timeouts", -1, "timeouts holds something other than 0 and 1"),
    ],
)
def test_values_that_cannot_be(tmp_path: Path, name: str, value: float, said: str) -> None:
    buffer = fill(KINDS["plain"](1), 9)
    getattr(buffer, name)[3] = value
    with pytest.raises(DataError, match=said):
        taken(saved(tmp_path / "replay.pkl", buffer), BOX, CONTINUOUS, 1)


def test_of_another_environment(tmp_path: Path) -> None:
    path = saved(tmp_path / "replay.pkl", fill(KINDS["plain"](2), 9))
    with pytest.raises(ConfigError, match=r"'obs' is float32 \[2\] in .*, and float32 \[3\] in this run"):
        taken(path, spaces.Box(-1, 1, (3,), np.float32), CONTINUOUS, 2)
    with pytest.raises(ConfigError, match=r"'obs' is float32 .*, and uint8"):
        taken(path, spaces.Box(0, 255, (2,), np.uint8), CONTINUOUS, 2)
    with pytest.raises(ConfigError, match=r"'action' is float32 .*, and int64"):
        taken(path, BOX, DISCRETE, 2)
    with pytest.raises(ConfigError, match=r"holds action, obs, and this run has action, obs/achieved_goal"):
        taken(path, GOALS, CONTINUOUS, 2)
    with pytest.raises(ConfigError, match=r"is of 2 environments, and env\.n_envs is 1; set env\.n_envs: 2"):
        taken(path, BOX, CONTINUOUS, 1)
    discrete = saved(tmp_path / "discrete.pkl", fill(KINDS["discrete"](1), 16))
    replay = Replay(100, 1, spaces.Discrete(5), DISCRETE)
    with pytest.raises(ConfigError, match=r"action of .* holds 0 to 2, and this run has 2 values"):
        carry_over(replay, read_replay(discrete).state(replay.columns(0, 0), {"action": 2}), "there")


def test_other_pickles_and_none(tmp_path: Path) -> None:
    path = tmp_path / "replay.pkl"
    path.write_bytes(pickle.dumps({"observations": 1}))
    with pytest.raises(DataError, match="is not a replay buffer of stable-baselines3"):
        read_replay(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        read_replay(path)
    with pytest.raises(ConfigError, match="is not there"):
        read_replay(tmp_path / "none.pkl")
    for kind, name in (("plain", "observations"), ("hindsight", "ep_start")):
        old = fill(KINDS[kind](1), 3)
        delattr(old, name)
        with pytest.raises(
            DataError, match=rf"has no '{name}': it is not whole, or of a stable-baselines3 before 1\.8"
        ):
            read_replay(saved(path, old))


def test_where_it_is_looked_for(tmp_path: Path) -> None:
    agent = tmp_path / "rl_model_500_steps.zip"
    names = ["rl_model_replay_buffer_500_steps.pkl", "rl_model_500_steps_replay_buffer.pkl", "replay_buffer.pkl"]
    assert find_replay(agent) == (None, [tmp_path / name for name in names])
    for name in reversed(names):
        (tmp_path / name).touch()
        assert find_replay(agent)[0] == tmp_path / name
