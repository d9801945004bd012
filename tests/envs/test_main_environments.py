"""Environments that a script registers or defines under `__main__`, in worker processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from lit_rl.envs.config import EnvConfig
from lit_rl.envs.parallel.carried import carry
from tests.helpers.cli import environment

pytestmark = pytest.mark.workers

DEFINED = """
import gymnasium as gym
import numpy as np
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.make import make_vector
from lit_rl.errors import ConfigError
from tests.helpers.envs import Walk

STEP = 2

class Mine(Walk):
    def step(self, action):
        self.position += STEP
        return super().step(action)

class Shift(gym.ObservationWrapper):
    def observation(self, observation):
        return observation + np.float32(STEP)
"""
USED = """
if {guard}:
    {register}
    configs = [EnvConfig(backend=backend, n_envs=2, n_workers=1, {env}) for backend in ("sync", "async")]
    venvs = [make_vector(config, 0, range(2)) for config in configs]
    shown = [[venv.reset().tolist(), venv.step(np.ones(2, np.int64)).obs.tolist()] for venv in venvs]
    assert shown[0] == shown[1], shown
    venvs[1].close()
    print("equal")
"""
GUARD = "__name__ == '__main__'"


def run(tmp_path: Path, text: str, how: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(text)
    arguments = {"file": [str(script)], "typed": ["-"], "-c": ["-c", text]}[how]
    return subprocess.run(
        [sys.executable, *arguments], input=text if how == "typed" else "", cwd=tmp_path, env=environment(),
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["file", "typed", "-c"])
@pytest.mark.parametrize(
    ("register", "env"),
    [
        ("gym.register('Mine-v0', entry_point=Mine)", "id='Mine-v0'"),
        ("gym.register('Mine-v0', entry_point='__main__:Mine', max_episode_steps=2)", "id='Mine-v0'"),
        ("gym.register('Mine-v0', entry_point=lambda **kwargs: Mine(**kwargs))", "id='Mine-v0'"),
        ("gym.register('Mine-v0', entry_point=Mine)", "id='__main__:Mine-v0'"),
        ("gym.register('Mine-v0', entry_point='tests.helpers.envs:Walk')", "id='Mine-v0'"),
        ("pass", "class_path='__main__.Mine', wrappers=['__main__.Shift']"),
    ],
)
def test_workers_have_what_the_script_has(tmp_path, how, register, env):
    done = run(tmp_path, DEFINED + USED.format(guard=GUARD, register=register, env=env), how)
    assert done.stdout == "equal\n", done.stderr


def test_what_cannot_be_sent_is_one_line_with_the_fix(tmp_path):
    text = DEFINED + "import threading\nLOCK = threading.Lock()\n"
    text = text.replace("self.position += STEP", "self.position += STEP + (LOCK is None)")
    register = "gym.register('Mine-v0', entry_point=Mine)"
    done = run(tmp_path, text + USED.format(guard=GUARD, register=register, env="id='Mine-v0'"), "typed")
    last = done.stderr.splitlines()[-1]
    assert "ConfigError: env.id: Environment `Mine` doesn't exist. It is defined in the script" in last
    assert last.endswith("register it in a module and give env.id: module:Name-v0, or use env.backend: sync.")


def test_a_script_without_a_guard_is_told_so(tmp_path):
    done = run(tmp_path, DEFINED + USED.format(guard=True, register="pass", env="class_path='__main__.Mine'"), "file")
    last = done.stderr.splitlines()[-1]
    assert "ConfigError: env.backend: worker processes import" in last
    assert "put what starts the run under `if __name__ == '__main__':`, or use backend: sync." in last


def test_what_every_process_has_is_not_sent():
    assert carry(EnvConfig(id="CartPole-v1")).pickled == b""
    assert carry(EnvConfig(class_path="tests.helpers.envs.Walk")).pickled == b""
