"""Worker processes that crash, raise, hang, are signalled, or lose their parent."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from lit_rl.envs.config import EnvConfig
from lit_rl.envs.vector import EnvironmentFailed
from lit_rl.envs.workers import AsyncVectorEnv
from lit_rl.errors import ConfigError
from tests.helpers import envs

pytestmark = [pytest.mark.workers, pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")]
PROBE = envs.Walk()


def start(kwargs, n_envs=4, n_workers=2, name="Fails", **settings):
    config = EnvConfig(class_path=envs.PATH + name, kwargs=kwargs, n_envs=n_envs, **settings)
    return AsyncVectorEnv(config, 0, range(n_envs), n_workers, PROBE.observation_space, PROBE.action_space)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raise", r"environment 0 \(tests\.helpers\.envs\.Fails\) raised RuntimeError: the walls fell down"),
        ("exit", r"environments 0 to 1 \(tests\.helpers\.envs\.Fails\): the worker ended with exit code 3"),
        ("hang", r"environments 0 to 1 \(tests\.helpers\.envs\.Fails\) did not answer within 0\.5 s"),
    ],
)
def test_a_failure_names_its_environment_within_seconds_and_leaves_no_process(how, message):
    venv = start({"how": how, "at": 2}, step_timeout=0.5)
    pids = [worker.pid for worker in venv._workers]
    try:
        venv.reset()
        venv.step(np.ones(4, np.int64))
        begin = time.monotonic()
        with pytest.raises(EnvironmentFailed, match=message) as caught:
            venv.step(np.ones(4, np.int64))
        assert time.monotonic() - begin < 5
        if how == "raise":
            assert "Traceback" in caught.value.__notes__[0]
    finally:
        begin = time.monotonic()
        venv.close()
    assert time.monotonic() - begin < 5
    assert not any(alive(pid) for pid in pids)


def test_a_worker_that_was_killed_is_named_at_the_next_call_whatever_it_is():
    venv = start({"at": 10**6}, n_envs=2)
    try:
        venv.reset()
        states = venv.capture()
        venv._workers[1].kill()
        venv._workers[1].join()
        for call in (lambda: venv.step(np.ones(2, np.int64)), venv.capture, lambda: venv.restore(states)):
            with pytest.raises(EnvironmentFailed, match=r"environments 1 to 1 .* exit code -9"):
                call()
    finally:
        venv.close()


def test_a_mistake_in_the_configuration_stays_one():
    with pytest.raises(ConfigError, match=r"env\.kwargs: .*'hau'"):
        start({"hau": "raise"}, n_envs=1, n_workers=1)


def test_signals_to_workers_are_left_to_the_trainer():
    venv = start({"at": 10**6}, n_envs=2)
    try:
        venv.reset()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            for worker in venv._workers:
                os.kill(worker.pid, number)
            time.sleep(0.02)
            assert venv.step(np.ones(2, np.int64)).obs.shape == (2, 2)
    finally:
        venv.close()


TRAINER = """
import os, sys, time
import numpy as np
from tests.envs.test_workers import start
if __name__ == "__main__":
    venv = start({"how": sys.argv[1], "at": 2}, n_envs=2)
    venv.reset()
    print(*[worker.pid for worker in venv._workers], flush=True)
    if sys.argv[1] == "hang":
        for _ in range(2):
            venv.step(np.ones(2, np.int64))
    time.sleep(600)
"""


@pytest.mark.parametrize("how", ["raise", "hang"])
def test_workers_end_with_their_parent_even_if_they_hang(how, tmp_path):
    """`raise` stands for workers that wait for a message: nothing is stepped there."""
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    trainer = subprocess.Popen(
        [sys.executable, str(script), how],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
        start_new_session=True,
    )
    try:
        pids = [int(pid) for pid in trainer.stdout.readline().split()]
        assert len(pids) == 2
        time.sleep(0.3)
        assert all(alive(pid) for pid in pids)
        trainer.kill()
        trainer.wait()
        assert wait_for(lambda: not any(alive(pid) for pid in pids), 5)
    finally:
        trainer.kill()
        trainer.wait()
