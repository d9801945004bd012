"""A command, a rule or strategy of a curriculum and an algorithm: one file each, and nothing to edit for a new one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lit_rl
from lit_rl import algorithms
from lit_rl.cli import commands
from lit_rl.cli.dispatch import overview, run_command
from lit_rl.curriculum import rules, strategies
from lit_rl.curriculum.construct import classes_in
from lit_rl.curriculum.curriculum import make_curriculum
from lit_rl.curriculum.rules import build
from lit_rl.curriculum.strategies import build as build_strategies
from tests.helpers.cli import environment

COMMAND = """
SUMMARY = "say hello"
ORDER = 45


def main(argv):
    print("hello", *argv)
    return 7
"""
BARE = '''
"""Say as little as a command can.

More about it.
"""


def main(argv):
    return 0
'''
RULE = """
from lit_rl.curriculum.rules.timesteps import TimestepsRule


class SlowRule(TimestepsRule):
    METRICS = ("slow_timesteps",)
"""
STRATEGY = """
from lit_rl.curriculum import Sampler


class SlowSampler(Sampler):
    NAME = "slow"

    def weights(self):
        return [1.0] * len(self.names)
"""
ALGORITHM = """
from lit_rl.algorithms.ppo import PPO


class SlowPPO(PPO):
    pass
"""


def test_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "say_hello.py").write_text(COMMAND)
    (tmp_path / "bare.py").write_text(BARE)
    (tmp_path / "_helper.py").write_text("")
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    names = [command.name for command in overview()]
    assert names[0] == "fit"
    at = names.index("play")
    assert names[at : at + 3] == ["play", "show", "say-hello"]
    assert names[-1] == "bare"
    assert run_command(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "  say-hello         say hello\n" in shown
    assert "  bare              Say as little as a command can.\n" in shown
    assert run_command(["say-hello", "you"]) == 7
    assert capsys.readouterr().out == "hello you\n"
    assert run_command(["say-helo"]) == 2
    assert "Did you mean 'say-hello'?" in capsys.readouterr().err


def test_the_overview_imports_no_command() -> None:
    code = "import sys; from lit_rl.__main__ import main; sys.argv[1:] = ['--help']\ntry: main()\nexcept SystemExit: "
    code += "print([name for name in sys.modules if name == 'torch' or name.startswith('lit_rl.cli.commands.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_promotion_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow.py").write_text(RULE)
    monkeypatch.setattr(rules, "__path__", [*rules.__path__, str(tmp_path)])
    build.metrics.cache_clear()
    classes_in.cache_clear()
    try:
        rule = build.build_rule({"metric": "slow_timesteps", "threshold": 3}, "promote")
        assert type(rule).__name__ == "SlowRule"
        assert rule.due(3)
    finally:
        build.metrics.cache_clear()
        classes_in.cache_clear()


def test_a_strategy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow.py").write_text(STRATEGY)
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(tmp_path)])
    build_strategies.strategies.cache_clear()
    classes_in.cache_clear()
    try:
        curriculum = make_curriculum({"sample": "slow", "n_levels": 2}, 1)
        assert curriculum is not None
        assert curriculum.describe() == "0 to 1, chosen by slow"
    finally:
        build_strategies.strategies.cache_clear()
        classes_in.cache_clear()


def test_an_algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slowppo.py").write_text(ALGORITHM)
    monkeypatch.setattr(algorithms, "__path__", [*algorithms.__path__, str(tmp_path)])
    assert {"A2C", "DDPG", "DQN", "PPO", "SAC", "SlowPPO", "TD3"} <= algorithms.algorithms().keys()
    assert lit_rl.SlowPPO is algorithms.algorithms()["SlowPPO"]
    with pytest.raises(AttributeError, match="no attribute 'SlowDQN'"):
        _ = lit_rl.SlowDQN
