"""A command, a promotion rule and an algorithm are each one file; nothing else has to be edited for a new one."""

from __future__ import annotations

from pathlib import Path

import pytest

import lit_rl
from lit_rl import algorithms
from lit_rl.cli import commands
from lit_rl.cli.dispatch import known, run_command
from lit_rl.curriculum import rules
from lit_rl.curriculum.rules import build

COMMAND = """
SUMMARY = "say hello"
ORDER = 45


def main(argv):
    print("hello", *argv)
    return 7
"""
RULE = """
from lit_rl.curriculum.rules.timesteps import TimestepsRule


class SlowRule(TimestepsRule):
    METRICS = ("slow_timesteps",)
"""
ALGORITHM = """
from lit_rl.algorithms.ppo import PPO


class SlowPPO(PPO):
    pass
"""


def test_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "say_hello.py").write_text(COMMAND)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    assert list(known())[3:5] == ["show", "say-hello"]
    assert run_command(["--help"]) == 0
    assert "  say-hello         say hello\n" in capsys.readouterr().out
    assert run_command(["say-hello", "you"]) == 7
    assert capsys.readouterr().out == "hello you\n"
    assert run_command(["say-helo"]) == 2
    assert "Did you mean 'say-hello'?" in capsys.readouterr().err


def test_a_promotion_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow.py").write_text(RULE)
    monkeypatch.setattr(rules, "__path__", [*rules.__path__, str(tmp_path)])
    build.metrics.cache_clear()
    try:
        rule = build.build_rule({"metric": "slow_timesteps", "threshold": 3}, "promote")
        assert type(rule).__name__ == "SlowRule"
        assert rule.due(3)
    finally:
        build.metrics.cache_clear()


def test_an_algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slowppo.py").write_text(ALGORITHM)
    monkeypatch.setattr(algorithms, "__path__", [*algorithms.__path__, str(tmp_path)])
    assert algorithms.algorithms().keys() == {"A2C", "PPO", "SlowPPO"}
    assert lit_rl.SlowPPO is algorithms.algorithms()["SlowPPO"]
    with pytest.raises(AttributeError, match="no attribute 'SlowDQN'"):
        _ = lit_rl.SlowDQN
