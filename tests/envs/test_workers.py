"""Worker processes that crash, raise, hang, are signalled, or lose their parent."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentLost
from lit_rl.envs.parallel.vector import AsyncVectorEnv
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
        ("raise", r"raised RuntimeError: the walls fell down in episode 0, step 2\."),
        ("exit", r": the worker process ended with exit code 3 in episode 0\."),
        ("segfault", r": the worker process was killed by SIGSEGV in episode 0\."),
        ("kill", r": the worker process was killed by SIGKILL in episode 0\."),
        ("hang", r"did not answer within 0\.5 s \(env\.step_timeout\) in episode 0; its worker was killed\."),
    ],
)
def test_a_failure_names_its_environment_within_seconds_and_leaves_no_process(how, message, capfd):
    venv = start({"how": how, "at": 2, "only": 2, "stderr": "my last words"}, step_timeout=0.5)
    pids = [worker.process.pid for worker in venv._workers]
    try:
        venv.reset()
        venv.step(np.ones(4, np.int64))
        begin = time.monotonic()
        who = r"^environment 3 \(tests\.helpers\.envs\.Fails\)"
        with pytest.raises(EnvironmentLost, match=f"{who} ?{message}") as caught:
            venv.step(np.array([1, 1, 1, 2]))
        assert time.monotonic() - begin < 5
        note = caught.value.__notes__[0]
        if how == "raise":
            assert "Traceback" in note
        else:
            assert note.startswith("end of the worker's standard error:\nmy last words")
            assert ("Segmentation fault" in note) == (how == "segfault")
    finally:
        begin = time.monotonic()
        venv.close()
    assert time.monotonic() - begin < 5
    assert not any(alive(pid) for pid in pids)
    assert "my last words" in capfd.readouterr().err


@pytest.mark.parametrize("call", ["reset", "capture"])
def test_a_hang_is_seen_whatever_is_asked(call):
    if call == "reset":
        venv = start({"how": "hang", "at": 0}, step_timeout=0.5, n_envs=2)
        calls = {"reset": venv.reset}
    else:
        venv = start({"how": "hang", "at": 3}, step_timeout=0.5, n_envs=2)
        venv.reset()
        calls = {"capture": venv.capture}
        os.kill(venv._workers[0].process.pid, signal.SIGSTOP)
    begin = time.monotonic()
    try:
        with pytest.raises(EnvironmentLost, match=r"^environment 0 .* within 0\.5 s \(env\.step_timeout\)"):
            calls[call]()
        assert time.monotonic() - begin < 5
    finally:
        venv.close()


@pytest.mark.parametrize("how", ["hang", "segfault", "raise"])
def test_a_replay_that_ends_or_hangs_its_worker_is_given_up(how, capfd):
    """Another process, another machine: what could be played then cannot be now. The next episode begins."""
    venv = start({"how": how, "at": 3}, step_timeout=0.5, n_envs=2)
    try:
        venv.reset()
        states = venv.capture()
        states[0]["actions"] = np.ones(3, np.int64)
        _, lost = venv.restore(states)
        assert lost == [0]
        assert [state["episode"] for state in venv.capture()] == [1, 0]
        said, until = "", time.monotonic() + 10  # a thread passes on what the worker writes
        while "is given up: environment 0" not in said and time.monotonic() < until:
            said += capfd.readouterr().err
            time.sleep(0.01)
        assert "the episode in flight could not be played again and is given up: environment 0" in said
    finally:
        venv.close()


def test_a_replay_may_take_longer_than_the_timeout_as_long_as_it_gets_on():
    venv = start({"seconds": 0.06}, n_envs=1, name="Slow", step_timeout=0.5)
    try:
        venv.reset()
        for _ in range(20):
            venv.step(np.ones(1, np.int64))
        begin = time.monotonic()
        assert venv.restore(venv.capture())[1] == []
        assert time.monotonic() - begin > 1
    finally:
        venv.close()


def test_a_worker_that_was_killed_is_named_at_the_next_call_whatever_it_is():
    venv = start({"at": 10**6}, n_envs=2)
    try:
        venv.reset()
        states = venv.capture()
        venv._workers[1].process.kill()
        venv._workers[1].process.join()
        for call in (lambda: venv.step(np.ones(2, np.int64)), venv.capture, lambda: venv.restore(states)):
            with pytest.raises(EnvironmentLost, match=r"environment 1 .* was killed by SIGKILL between two steps"):
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
                os.kill(worker.process.pid, number)
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
    print(*[worker.process.pid for worker in venv._workers], flush=True)
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
