"""`env.on_env_crash: restart`: a lost environment begins its next episode, and the run's others do not notice."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lit_rl.curriculum.assignment import Assignment
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentLost
from lit_rl.envs.make import make_vector
from lit_rl.envs.parallel.vector import AsyncVectorEnv
from lit_rl.envs.probe import probe
from lit_rl.envs.slot import Slot
from lit_rl.envs.sync import SyncVectorEnv
from tests.helpers import envs
from tests.helpers.on_policy import iterate, make_ppo
from tests.helpers.vector import as_bytes, frozen, record, sync

PROBE = envs.Walk()
STAY = np.ones(4, np.int64)


def config_of(kwargs: dict[str, Any], **settings: Any) -> EnvConfig:
    settings = {"n_envs": 4, "on_env_crash": "restart", "max_episode_steps": 9, **settings}
    return EnvConfig(class_path=envs.PATH + "NoisyFails", kwargs=kwargs, **settings)


def in_workers(config: EnvConfig, n_workers: int = 2, seed: int = 0) -> AsyncVectorEnv:
    spaces = PROBE.observation_space, PROBE.action_space
    return AsyncVectorEnv(config, seed, range(config.n_envs), n_workers, *spaces)


def actions(steps: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 3, size=(steps, 4))


def first_observation(config: EnvConfig, index: int, episode: int) -> Any:
    """What an environment begins an episode with, in a run that nothing disturbs."""
    undisturbed = SyncVectorEnv(EnvConfig(class_path=envs.PATH + "Noisy"), 0, range(index, index + 1))
    for _ in range(episode + 1):
        obs = undisturbed.reset()
    return np.array(obs[0])


def test_the_step_is_truncated_at_the_last_good_observation_and_the_next_episode_begins(capfd: Any) -> None:
    ours, undisturbed = sync(config_of({"at": 3, "only": 2})), sync(config_of({"at": 99}))
    ours.reset(), undisturbed.reset()
    for _ in range(2):
        before = frozen(ours.step(STAY).obs)
        undisturbed.step(STAY)
    act = np.array([1, 2, 1, 1])
    result, expected = ours.step(act), undisturbed.step(act)
    assert [restart.rows for restart in result.restarts] == [(1,)]
    assert "environment 1 " in result.restarts[0].cause
    assert result.truncated.tolist() == [False, True, False, False]
    assert not result.terminated.any()
    assert result.reward[1] == 0.0
    assert [row for row, _ in result.finals] == [1]
    np.testing.assert_array_equal(result.finals[0][1], before[1])
    assert result.episodes == []
    assert ours.capture()[1]["episode"] == 1
    for row in (0, 2, 3):
        np.testing.assert_array_equal(result.obs[row], expected.obs[row])
    err = capfd.readouterr().err
    assert err.count("WARNING: ") == 1
    assert "environment 1 (tests.helpers.envs.NoisyFails) raised RuntimeError: the walls fell down" in err


@pytest.mark.workers
def test_exceptions_come_to_the_same_in_worker_processes_to_the_bit() -> None:
    config = config_of({"at": 3, "only": 2}, max_restarts=1000)
    here, there = sync(config), in_workers(config)
    try:
        assert as_bytes(here.reset()) == as_bytes(there.reset())
        restarts = 0
        for action in actions(60):
            ours, theirs = here.step(action), there.step(action)
            assert record(ours) == record(theirs)
            assert ours.restarts == theirs.restarts
            restarts += len(ours.restarts)
        assert restarts > 5
        np.testing.assert_equal(here.capture(), there.capture())
    finally:
        there.close()


@pytest.mark.workers
@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_restart_that_fails_is_repeated_and_counted_alike(n_workers: int, capfd: Any) -> None:
    """Resets fail as well as steps: an environment may have to be made anew several times in one step."""
    config = EnvConfig(
        class_path=envs.PATH + "FailsToBegin", n_envs=4, on_env_crash="restart", max_episode_steps=9, max_restarts=10**6
    )
    seed = 8  # one with which all begin: a reset that fails at the very start ends the run
    here = SyncVectorEnv(config, seed, range(4))
    there = in_workers(config, n_workers, seed)
    here.reset()
    try:
        there.reset()
        capfd.readouterr()
        several = 0
        for action in actions(60):
            ours, theirs = here.step(action), there.step(action)
            assert record(ours) == record(theirs)
            assert ours.restarts == theirs.restarts
            rows = [row for restart in ours.restarts for row in restart.rows]
            several += len(rows) - len(set(rows))
        assert several > 3, "an environment was made anew more than once in a step"
        np.testing.assert_equal(here.capture(), there.capture())
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 2 * len(set(lines)), "each is reported in both, in the same words"
    finally:
        there.close()


@pytest.mark.workers
def test_the_limit_of_restarts_is_the_same_in_worker_processes() -> None:
    config = EnvConfig(class_path=envs.PATH + "FailsToBegin", n_envs=4, on_env_crash="restart", max_restarts=5)
    texts = []
    for venv in (SyncVectorEnv(config, 8, range(4)), in_workers(config, 1, seed=8)):
        try:
            venv.reset()
            with pytest.raises(EnvironmentLost, match="5 restarts came before it") as caught:
                list(map(venv.step, actions(60)))
            texts.append(str(caught.value))
        finally:
            venv.close()
    assert texts[0] == texts[1]


@pytest.mark.workers
def test_in_a_new_worker_one_that_cannot_begin_is_made_anew_alone(capfd: Any) -> None:
    """Its neighbours keep the episodes that they have begun, and it is counted and reported as in a step."""
    config = EnvConfig(class_path=envs.PATH + "FailsToBegin", n_envs=4, on_env_crash="restart")
    expected, episodes, counts = [], [], []
    for index in range(4):
        slot, begun = Slot(config, 14, index), None
        slot.episode = 0  # the one that is lost with the worker
        for count in itertools.count():
            with contextlib.suppress(EnvironmentLost):
                begun = slot.begin() if count == 0 else slot.restart()
                break
        expected.append(begun), episodes.append(slot.episode), counts.append(count)
    assert 0 in counts
    assert max(counts) > 1, "one does not begin at once, nor the second time"
    there = in_workers(config, 1, seed=14)
    try:
        obs = there.reset()
        there._workers[0].process.kill()
        there._workers[0].process.join()
        restarts = there.settle()
        alone = [(index,) for index, count in enumerate(counts) for _ in range(count)]
        assert [restart.rows for restart in restarts] == [(0, 1, 2, 3), *alone]
        assert [state["episode"] for state in there.capture()] == episodes
        np.testing.assert_array_equal(obs, expected)
        assert capfd.readouterr().err.count("WARNING: ") == len(restarts)
    finally:
        there.close()


@pytest.mark.workers
def test_each_restart_has_the_time_limit_for_itself() -> None:
    """Environment 0 begins at the sixth time: together they take longer than one may."""
    config = EnvConfig(
        class_path=envs.PATH + "FailsToBegin",
        kwargs={"seconds": 0.2},
        n_envs=1,
        on_env_crash="restart",
        step_timeout=0.8,
    )
    there = in_workers(config, 1, seed=14)
    try:
        there.reset()
        there._workers[0].process.kill()
        there._workers[0].process.join()
        assert ["no beginning" in restart.cause for restart in there.settle()] == [False] + 5 * [True]
    finally:
        there.close()


@pytest.mark.workers
def test_the_limit_of_restarts_holds_in_a_new_worker() -> None:
    config = EnvConfig(class_path=envs.PATH + "FailsToBegin", n_envs=4, on_env_crash="restart", max_restarts=2)
    there = in_workers(config, 1, seed=14)
    try:
        there.reset()
        there._workers[0].process.kill()
        there._workers[0].process.join()
        with pytest.raises(EnvironmentLost, match=r"^environment \d .* no beginning .* 2 restarts came before it"):
            there.settle()
    finally:
        there.close()


@pytest.mark.workers
@pytest.mark.parametrize("how", ["exit", "kill", "hang"])
def test_a_lost_worker_is_replaced_and_what_follows_comes_back_exactly(how: str, tmp_path: Path) -> None:
    """Environments 2 and 3 share a worker; 3 takes it down in step 3 of its first episode."""
    once = tmp_path / "once"
    config = config_of({"how": how, "at": 3, "only": 2, "once": str(once)}, step_timeout=0.5)
    there, undisturbed = in_workers(config), sync(config_of({"at": 99}))
    try:
        there.reset(), undisturbed.reset()
        for _ in range(2):
            before = frozen(there.step(STAY).obs)
            undisturbed.step(STAY)
        act = np.array([1, 1, 1, 2])
        result, expected = there.step(act), undisturbed.step(act)
        assert [restart.rows for restart in result.restarts] == [(2, 3)]
        assert result.restarts[0].cause.startswith("environment 3 ")
        assert result.truncated.tolist() == [False, False, True, True]
        assert result.reward[2:].tolist() == [0.0, 0.0]
        for row, final in result.finals:
            np.testing.assert_array_equal(final, before[row])
        np.testing.assert_array_equal(result.obs[:2], expected.obs[:2])
        assert [state["episode"] for state in there.capture()] == [0, 0, 1, 1]
        for row in (2, 3):
            np.testing.assert_array_equal(result.obs[row], first_observation(config, row, 1))
        for action in actions(20)[:13]:
            there.step(action)
        again = sync(config)
        obs, lost = again.restore(there.capture())
        assert (as_bytes(obs), lost) == (as_bytes(there._arrays.obs), [])
        for action in actions(20):
            assert record(again.step(action)) == record(there.step(action))
    finally:
        there.close()


@pytest.mark.parametrize("backend", ["sync", pytest.param("async", marks=pytest.mark.workers)])
def test_an_episode_that_cannot_begin_is_left_out(backend: str, tmp_path: Path) -> None:
    fine = tmp_path / "fine"
    fine.touch()  # while it is there, resets succeed
    config = config_of({"at": 0, "once": str(fine)}, n_envs=1, max_episode_steps=2)
    venv = sync(config) if backend == "sync" else in_workers(config, 1)
    try:
        venv.reset()
        venv.step(STAY[:1])
        fine.unlink()
        result = venv.step(STAY[:1])
        assert "in the reset of episode 1" in result.restarts[0].cause
        assert (result.truncated.tolist(), result.episodes) == ([True], [])
        assert venv.capture()[0]["episode"] == 2
    finally:
        venv.close()


@pytest.mark.parametrize("backend", ["sync", pytest.param("async", marks=pytest.mark.workers)])
def test_no_episode_begins_any_more(backend: str, tmp_path: Path) -> None:
    fine = tmp_path / "there" / "fine"
    fine.parent.mkdir()
    fine.touch()
    config = config_of({"at": 0, "once": str(fine)}, n_envs=1, max_episode_steps=1, max_restarts=2)
    venv = sync(config) if backend == "sync" else in_workers(config, 1)
    try:
        venv.reset()
        fine.unlink()
        fine.parent.rmdir()
        with pytest.raises(EnvironmentLost, match=r"2 restarts came before it"):
            venv.step(STAY[:1])
    finally:
        venv.close()


@pytest.mark.parametrize("backend", ["sync", pytest.param("async", marks=pytest.mark.workers)])
@pytest.mark.parametrize("limit", [1, 3])
def test_too_many_in_a_row_stop_the_run(backend: str, limit: int) -> None:
    config = config_of({"at": 1, "only": 2}, max_restarts=limit)
    venv = sync(config) if backend == "sync" else in_workers(config)
    act = np.array([2, 1, 1, 1])
    try:
        venv.reset()
        for _ in range(2):  # a whole iteration without one begins the count anew
            for _ in range(limit):
                assert len(venv.step(act).restarts) == 1
            venv.settle()
            venv.settle()
        for _ in range(limit):
            venv.step(act)
            venv.settle()  # every iteration had one
        with pytest.raises(EnvironmentLost, match=rf"environment 0 .* {limit} restarts .*env\.max_restarts"):
            venv.step(act)
    finally:
        venv.close()


def test_stop_is_what_happens_unless_restart_is_asked_for() -> None:
    venv = sync(config_of({"at": 1}, on_env_crash="stop"))
    venv.reset()
    with pytest.raises(EnvironmentLost):
        venv.step(STAY)


@pytest.mark.workers
def test_a_worker_that_dies_between_two_steps_is_replaced_at_the_end_of_the_iteration() -> None:
    there = in_workers(config_of({"at": 99}))
    try:
        obs = there.reset()
        there.assign(Assignment())
        process = there._workers[1].process
        process.kill()
        process.join()
        (restart,) = there.settle()
        assert restart.rows == (2, 3)
        assert "was killed by SIGKILL between two steps" in restart.cause
        assert [state["episode"] for state in there.capture()] == [0, 0, 1, 1]
        np.testing.assert_array_equal(obs[3], first_observation(there._config, 3, 1))
        assert there.settle() == []
    finally:
        there.close()


def test_a_first_look_that_fails_is_no_reason_to_give_up_with_restart() -> None:
    kwargs = {"at": 3, "only": 2}
    assert probe(config_of(kwargs), 0).grade == "exact"
    with pytest.raises(EnvironmentLost, match="environment 0 "):
        probe(config_of(kwargs, on_env_crash="stop"), 0)


def test_the_last_good_observation_bootstraps_and_the_broken_step_earns_nothing() -> None:
    """At the crash the return is gamma times the value of where it stood."""
    env = {"class_path": envs.PATH + "NoisyFails", "kwargs": {"at": 3}, "on_env_crash": "restart", "n_envs": 1}
    ppo = make_ppo({**env, "max_restarts": 1000}, n_steps=4, batch_size=4, gamma=0.5, gae_lambda=1.0)
    rollout = ppo.collect()
    at_crash = ppo.net.critic(rollout.obs[2:3]).item()  # of the observation that the broken action was taken for
    assert rollout.ret.reshape(-1)[2].item() == pytest.approx(0.5 * at_crash, rel=1e-5)
    assert ppo.counters.episodes == 0


def test_restarts_are_counted_and_logged() -> None:
    env = {"class_path": envs.PATH + "NoisyFails", "kwargs": {"at": 3}, "on_env_crash": "restart", "n_envs": 2}
    ppo = make_ppo({**env, "max_restarts": 1000}, n_steps=8, batch_size=16)
    metrics = iterate(ppo)
    restarts = ppo.counters.env_restarts
    assert restarts == 4  # in steps 3 and 6 of each
    assert metrics["env/restarts"] == restarts
    assert iterate(ppo)["env/restarts"] > restarts
    healthy = make_ppo({**env, "kwargs": {"at": 99}}, n_steps=8, batch_size=16)
    assert "env/restarts" not in iterate(healthy)


@pytest.mark.workers
def test_auto_takes_processes_where_there_is_a_time_limit() -> None:
    venv = make_vector(EnvConfig(id="CartPole-v1", step_timeout=5.0), 0, range(1))
    try:
        assert isinstance(venv, AsyncVectorEnv)
    finally:
        venv.close()


@pytest.mark.workers
def test_workers_of_a_stopped_process_group_are_all_gone_after_a_close() -> None:
    """Hung ones share one second of patience."""
    there = in_workers(config_of({"at": 99}), 4)
    processes = [worker.process for worker in there._workers]
    for process in processes:
        os.kill(process.pid or 0, signal.SIGSTOP)
    there.close()
    assert not any(process.is_alive() for process in processes)
