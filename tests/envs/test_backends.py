"""In this process or in worker processes: the same to the bit."""

import subprocess
import sys

import numpy as np
import pytest

from lit_rl.curriculum.assignment import Assignment
from lit_rl.envs import candidates, make
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentLost
from lit_rl.envs.make import make_vector
from lit_rl.envs.parallel.vector import AsyncVectorEnv
from lit_rl.errors import ConfigError
from tests.helpers import envs
from tests.helpers.vector import actions_of, as_bytes, record, sync

N = 3
HOW = {
    "pipes": {"n_workers": 2},
    "counters": {"n_workers": 2, "watches": True},
    "a share": {"n_workers": 1, "watches": True, "shares": True},
    "a share, pipes": {"n_workers": 2, "shares": True},
}


def config_of(name, **kwargs):
    return EnvConfig(class_path=envs.PATH + name, n_envs=N, max_episode_steps=9, **kwargs)


def in_workers(config, n_workers=2, offset=0, **how):
    ours = sync(config)
    spaces = ours.observation_space, ours.action_space
    ours.close()
    return AsyncVectorEnv(config, 0, range(offset, offset + config.n_envs), n_workers, *spaces, **how)


@pytest.mark.workers
@pytest.mark.parametrize(
    "name",
    ["Noisy", "NoisyBox", "NoisyMultiDiscrete", "NoisyMultiBinary", "NoisyDict", "DoubleBox", "Integers"],
)
@pytest.mark.parametrize("how", HOW)
def test_worker_processes_do_the_same_to_the_bit(name, how):
    config = config_of(name)
    here, there = sync(config), in_workers(config, **HOW[how])
    try:
        assert as_bytes(here.reset()) == as_bytes(there.reset())
        actions, ended = actions_of(here.action_space, N, 60), 0
        actions = [a.astype(np.float32) if a.dtype.kind == "f" else a.astype(np.int64) for a in actions]
        for action in actions[:30]:
            ours, theirs = here.step(action), there.step(action)
            ended += len(ours.finals)
            assert record(ours) == record(theirs)
        assert ended > 3
        state = there.capture()
        np.testing.assert_equal(here.capture(), state)
        # each comes back from the state of the other
        again = sync(config)
        obs, lost = again.restore(state)
        assert (as_bytes(obs), lost) == (as_bytes(ours.obs), [])
        obs, lost = there.restore(again.capture())
        assert (as_bytes(obs), lost) == (as_bytes(ours.obs), [])
        for action in actions[30:]:
            assert record(again.step(action)) == record(there.step(action))
    finally:
        there.close()


@pytest.mark.workers
def test_blocks_and_indices_change_nothing():
    config = config_of("NoisyBox")
    here = sync(EnvConfig(class_path=config.class_path, n_envs=7, max_episode_steps=9))
    there = in_workers(config, n_workers=1, offset=4)
    try:
        np.testing.assert_array_equal(here.reset()[4:], there.reset())
        for action in actions_of(here.action_space, 7, 20):
            ours, theirs = here.step(action), there.step(action[4:])
            np.testing.assert_array_equal(ours.obs[4:], theirs.obs)
            assert [e for e in ours.episodes if e.env_index >= 4] == theirs.episodes
    finally:
        there.close()


@pytest.mark.workers
def test_episodes_that_do_not_come_back_are_named_by_row():
    config = config_of("Noisy")
    here, there = sync(config), in_workers(config)
    try:
        here.reset()
        for action in actions_of(here.action_space, N, 5):
            here.step(action)
        states = here.capture()
        states[1]["trace"] += 1
        again = sync(config)
        ours, theirs = again.restore(states), there.restore(states)
        assert ours[1] == theirs[1] == [1]
        np.testing.assert_array_equal(ours[0], theirs[0])
    finally:
        there.close()


def test_a_worker_needs_no_torch():
    code = (
        "import sys\n"
        "import lit_rl.envs.parallel.vector\n"
        "from lit_rl.envs.slot import Slot\n"
        "from lit_rl.envs.config import EnvConfig\n"
        "Slot(EnvConfig(id='CartPole-v1', frame_stack=2), 0, 0).begin()\n"
        "assert 'torch' not in sys.modules and 'stable_baselines3' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_order_of_results_is_rows():
    ours = sync(config_of("Noisy"))
    ours.reset()
    for action in actions_of(ours.action_space, N, 40):
        result = ours.step(action)
        rows = [row for row, _ in result.finals]
        assert rows == sorted(rows) == np.flatnonzero(result.terminated | result.truncated).tolist()
        assert [episode.env_index for episode in result.episodes] == rows


def test_terminated_and_truncated_are_told_apart():
    """Straight on ends beyond 2.5 at step 6, standing still is cut off at step 9."""
    ours = sync(config_of("Walk"))
    ours.reset()
    ends = {}
    for t in range(1, 10):
        result = ours.step(np.array([2, 1, 1]))
        for row, final in result.finals:
            ends.setdefault(row, (t, bool(result.terminated[row]), bool(result.truncated[row]), final[0]))
            assert result.obs[row][0] == 0.0  # already the next episode's
    assert ends == {0: (6, True, False, 3.0), 1: (9, False, True, 0.0), 2: (9, False, True, 0.0)}


def test_auto_steps_cheap_environments_here():
    config = EnvConfig(id="CartPole-v1", n_envs=2)
    assert type(make_vector(config, 0, range(2))).__name__ == "SyncVectorEnv"


@pytest.mark.workers
@pytest.mark.parametrize("how", ["counters", "a share"])
def test_environments_that_were_tried_begin_as_if_nothing_had_been(how):
    config = config_of("CarriesState")
    here, there = sync(config), in_workers(config, **HOW[how])
    try:
        there.assign(Assignment())
        there.reset()
        for action in actions_of(here.action_space, N, 20):
            there.step(action)
        there.begin_again()
        assert as_bytes(here.reset()) == as_bytes(there.reset())
        for action in actions_of(here.action_space, N, 20):
            assert record(here.step(action)) == record(there.step(action))
    finally:
        there.close()


@pytest.mark.workers
@pytest.mark.parametrize(
    ("times", "chosen"), [({"Sync": 3e-4, "Async": 1e-4}, "Async"), ({"Sync": 1e-4, "Async": 3e-4}, "Sync")]
)
def test_auto_takes_what_was_faster_and_says_by_how_much(times, chosen, monkeypatch):
    monkeypatch.setattr(make, "WORTH_TRYING_S", 0.0)
    monkeypatch.setattr(make, "cores_here", lambda: 2)
    monkeypatch.setattr(candidates, "_time", lambda envs, rng: times[type(envs).__name__.removesuffix("VectorEnv")])
    venv = make_vector(config_of("Noisy"), 0, range(N))
    try:
        assert type(venv).__name__ == f"{chosen}VectorEnv"
        slower = "with worker processes" if chosen == "Sync" else "in this process"
        assert venv.why == f"a step of all takes 0.1 ms, {slower} 0.3 ms"
        here = sync(config_of("Noisy"))
        assert as_bytes(here.reset()) == as_bytes(venv.reset())
        for action in actions_of(here.action_space, N, 20):
            assert record(here.step(action)) == record(venv.step(action))
    finally:
        venv.close()


def test_what_may_take_its_process_down_is_not_stepped_by_the_trainer(monkeypatch):
    monkeypatch.setattr(make, "cores_here", lambda: 4)
    asked = []
    monkeypatch.setattr(make, "AsyncVectorEnv", lambda *a, **k: asked.append((a[3], k["shares"])) or sync(a[0]))
    for settings in ({}, {"n_workers": 2}, {"on_env_crash": "restart"}, {"step_timeout": 9.0}):
        make_vector(config_of("Noisy", backend="async", **settings), 0, range(N))
    assert asked == [(2, True), (2, False), (3, False), (3, False)]


def test_an_unknown_backend_is_refused():
    with pytest.raises(ConfigError, match=r"env\.backend: 'asink' is not one of .* Did you mean 'async'\?"):
        EnvConfig(id="CartPole-v1", backend="asink")


def test_the_grade_is_that_of_the_environment():
    assert make_vector(config_of("Noisy", backend="sync"), 0, range(N)).grade == "exact"
    assert make_vector(config_of("CarriesState", backend="sync"), 0, range(N)).grade == "boundary"


def test_an_exception_says_in_which_environment_it_was_raised():
    ours = sync(config_of("Fails", kwargs={"how": "raise", "at": 2}))
    ours.reset()
    ours.step(np.array([1, 1, 1]))
    words = r"environment 0 .* raised RuntimeError: the walls fell down in episode 0, step 2\."
    with pytest.raises(EnvironmentLost, match=words) as caught:
        ours.step(np.array([1, 1, 1]))
    assert "Traceback" in caught.value.__notes__[0]


def test_a_program_that_forgets_to_close_its_workers_ends_all_the_same() -> None:
    """multiprocessing asks its children with SIGTERM at exit and waits; ours do not listen to it."""
    code = (
        "from lit_rl.envs.config import EnvConfig\n"
        "from lit_rl.envs.make import make_vector\n"
        "if __name__ == '__main__':\n"
        "    envs = make_vector(EnvConfig(id='CartPole-v1', n_envs=2, backend='async', n_workers=2), 1, range(2))\n"
        "    envs.reset()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == 0
