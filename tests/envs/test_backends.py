"""In this process or in worker processes: the same to the bit."""

import subprocess
import sys

import numpy as np
import pytest

from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentLost
from lit_rl.envs.make import make_vector
from lit_rl.envs.parallel.vector import AsyncVectorEnv
from lit_rl.errors import ConfigError
from tests.helpers import envs
from tests.helpers.vector import actions_of, as_bytes, record, sync

N = 3


def config_of(name, **kwargs):
    return EnvConfig(class_path=envs.PATH + name, n_envs=N, max_episode_steps=9, **kwargs)


def in_workers(config, n_workers=2, offset=0):
    ours = sync(config)
    spaces = ours.observation_space, ours.action_space
    ours.close()
    return AsyncVectorEnv(config, 0, range(offset, offset + config.n_envs), n_workers, *spaces)


@pytest.mark.workers
@pytest.mark.parametrize(
    "name",
    ["Noisy", "NoisyBox", "NoisyMultiDiscrete", "NoisyMultiBinary", "NoisyDict", "DoubleBox", "Integers"],
)
def test_worker_processes_do_the_same_to_the_bit(name):
    config = config_of(name)
    here, there = sync(config), in_workers(config)
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
