"""`doctor` says what a run would find, what to do about it, and never hangs or falls itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.runs.conftest import Cli

ENVS = "tests.helpers.envs"


def found(cli: Cli, *argv: Any) -> dict[str, Any]:
    before = sorted(cli.cwd.rglob("*"))
    result: dict[str, Any] = json.loads(cli("doctor", *argv, "--json").out)
    assert sorted(cli.cwd.rglob("*")) == before, "something was written"
    return result


def test_a_good_environment(cli: Cli) -> None:
    d = found(cli, "CartPole-v1")
    assert (d["seeded"], d["seed_matters"], d["deterministic"], d["resume_grade"]) == (True, True, True, "exact")
    assert (d["global_streams"], d["advice"], d["observation_bytes"]) == ([], [], 16)
    fits = ["A2C", "ARS", "DQN", "PPO", "QRDQN", "RecurrentPPO", "TRPO"]
    assert (d["algorithms"], d["suggested"], d["policy"]) == (fits, "PPO", "MlpPolicy")
    assert "finite bounds" in d["refused"]["SAC"]
    assert d["step_seconds"] > 0
    assert "said_of_spaces" not in d
    assert "screen" not in d, "what is for people is no part of the JSON"


def test_the_screen_has_eighty_columns_and_fits_one(cli: Cli) -> None:
    lines = cli("doctor", "Pendulum-v1").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    text = "\n".join(lines)
    assert "SAC (suits best)" in text
    assert "nothing: it can be trained on, and its runs resume exactly." in text


def test_state_that_is_carried_across_resets(cli: Cli) -> None:
    d = found(cli, f"{ENVS}:CarriesState")
    assert (d["seeded"], d["resume_grade"], d["remedy"]) == (False, "boundary", {"fresh_instance": True})
    assert any("carries something across resets" in each for each in d["advice"])
    assert any("with env.fresh_instance: true it is exact" in each for each in d["advice"])


def test_global_streams(cli: Cli) -> None:
    d = found(cli, f"{ENVS}:GlobalNoise")
    assert (d["global_streams"], d["deterministic"], d["resume_grade"]) == (["numpy"], False, "exact")
    assert "env.global_streams" in d["advice"][0]


OWN = """
import random, time
import numpy as np
import gymnasium as gym
from gymnasium import spaces


class Clock(gym.Env):
    observation_space, action_space = spaces.Box(0, np.inf, (1,), np.float64), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array([time.perf_counter()]), {}

    def step(self, action):
        return np.array([time.perf_counter()]), 0.0, False, False, {}


class Python(Clock):
    def reset(self, *, seed=None, options=None):
        return np.array([random.random()]), {}

    def step(self, action):
        return np.array([random.random()]), 0.0, False, False, {}


class NotANumber(Clock):
    def step(self, action):
        return np.array([np.nan]), 0.0, False, False, {}
"""


@pytest.fixture
def own(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    (cli.cwd / "own_doctor_envs.py").write_text(OWN)
    monkeypatch.syspath_prepend(cli.cwd)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return cli


def test_a_clock_cannot_be_repeated(own: Cli) -> None:
    d = found(own, "own_doctor_envs:Clock")
    assert (d["seeded"], d["deterministic"], d["resume_grade"], d["remedy"]) == (False, False, "boundary", {})
    assert any("begins new episodes" in each for each in d["advice"])


def test_pythons_stream_and_not_a_number(own: Cli) -> None:
    assert found(own, "own_doctor_envs:Python")["global_streams"] == ["python"]
    said = own.error("doctor", "own_doctor_envs:NotANumber")
    assert "it sent an observation with NaN or infinity in step 1" in said


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("raise", "raised RuntimeError: the walls fell down in episode 0, step 2."),
        ("exit", "its process ended with exit code 3 while it is"),
        ("segfault", "its process was ended by SIGSEGV while it is"),
        ("hang", "gave no answer for 2 s while it is reset and stepped"),
    ],
)
def test_one_that_misbehaves_is_a_line(cli: Cli, how: str, text: str) -> None:
    cli.config({"env": {"id": None, "class_path": f"{ENVS}.Fails", "kwargs": {"how": how}}})
    said = cli.error("doctor", "--config", "run.yaml", "--limit", 2)
    assert text in said
    assert "\n" not in said


def test_a_configuration_brings_its_block_and_levels(cli: Cli) -> None:
    cli.config({"env": {"n_envs": 3, "frame_stack": 2, "normalize": {"obs": True}}})
    d = found(cli, "--config", "run.yaml")
    assert (d["n_envs"], d["observation_bytes"]) == (3, 32)
    cli.config({"env": {"backend": "auto", "step_timeout": 5}})
    assert "env.step_timeout needs worker processes" in " ".join(cli("doctor", "--config", "run.yaml").out.split())
    levels = [{"name": "a", "promote": {"metric": "timesteps", "threshold": 1}}, {"name": "b", "env_kwargs": {"no": 1}}]
    Path("levels.yaml").write_text(yaml.safe_dump({"env": {"id": "CartPole-v1"}, "curriculum": {"levels": levels}}))
    assert "curriculum.levels[1] 'b'" in cli.error("doctor", "--config", "levels.yaml")


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ((), "give an environment"),
        (("CartPole-v1", "--config", "x.yaml"), "and not both"),
        (("CartPol-v1",), "Did you mean 'CartPole-v1'?"),
        (("CartPole-v1", "--seed", -1), "--seed is -1"),
        (("CartPole-v1", "--limit", 0), "--limit is 0"),
        ((f"{ENVS}:TextObservations",), "is not supported; use Box"),
    ],
)
def test_mistakes(cli: Cli, argv: tuple[Any, ...], text: str) -> None:
    assert text in cli.error("doctor", *argv)


def test_the_seed_is_that_of_the_look(own: Cli) -> None:
    """An environment that fails with one seed alone is found by it."""
    (own.cwd / "own_seeded_env.py").write_text(
        "import numpy as np\nfrom own_doctor_envs import Clock\n\n\nclass Picky(Clock):\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        if seed == 5:\n            open('seen', 'x').close()\n"
        "        return np.zeros(1), {}\n\n    def step(self, action):\n"
        "        return np.zeros(1), 0.0, False, False, {}\n"
    )
    own("doctor", "own_seeded_env:Picky", "--json")
    assert not Path("seen").exists()
    own("doctor", "own_seeded_env:Picky", "--json", "--seed", 5, expect=0)
    assert Path("seen").exists()
