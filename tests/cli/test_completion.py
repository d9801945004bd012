"""Completion, asked by real shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lit_rl.cli.completion import candidates
from lit_rl.cli.dispatch import files
from lit_rl.cli.models import models_by_name
from tests.helpers.cli import environment, write_config
from tests.runs.conftest import Cli

RUNS = [f"lightning_logs/{run}" for run in ("first/version_0", "first/version_1", "second/version_0")]
BASH = """
eval "$(lit-rl completion bash)"
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_lit_rl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
compdef() {{}}
compadd() {{ print -l -- $found }}
_files() {{ print files }}
eval "$(lit-rl completion zsh)"
words=({words}); CURRENT=${{#words}}
_lit_rl
"""
FISH = "lit-rl completion fish | source; complete -C '{words}'"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a configuration, runs, and the command on the path."""
    write_config(tmp_path)
    for run in RUNS:
        (tmp_path / run).mkdir(parents=True)
    command = tmp_path / "bin" / "lit-rl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m lit_rl "$@"\n')
    command.chmod(0o755)
    return tmp_path


def ask(shell: str, script: str, place: Path) -> list[str]:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"there is no {shell} here")
    env = {**environment(), "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(place)}
    options = {"bash": ["--norc", "-c"], "zsh": ["-f", "-c"], "fish": ["-c"]}[shell]
    done = subprocess.run([found, *options, script], cwd=place, env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("lit-rl verify", ["verify", "verify-checkpoint"]),
        ("lit-rl fit --config run.yaml --model.n_", ["--model.n_epochs", "--model.n_steps"]),
        ("lit-rl fit --env.backend = a", ["async", "auto"]),
    ],
)
def test_bash(place: Path, words: str, expected: list[str]) -> None:
    assert ask("bash", BASH.format(words=words), place) == expected


def test_zsh(place: Path) -> None:
    assert ask("zsh", ZSH.format(words='lit-rl fit --env.backend ""'), place) == ["async", "auto", "native", "sync"]
    assert ask("zsh", ZSH.format(words='lit-rl fit --config ""'), place) == ["files"]


def test_fish(place: Path) -> None:
    assert ask("fish", FISH.format(words="lit-rl play lightning_logs/first/version_0 --whi"), place) == ["--which"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([""], sorted(files())),
        (["init", "CartPole-v1", "--algorithm", ""], sorted(models_by_name())),
        (["fit", "--model", "P"], ["PPO"]),
        (["fit", "--env.id", "CartP"], ["CartPole-v0", "CartPole-v1"]),
        (["fit", "--env.backend=a"], ["--env.backend=async", "--env.backend=auto"]),
        (["fit", "--requeue", ""], ["false", "true"]),
        (["fit", "--name", ""], ["first", "second"]),
        (["fit", "--trainer.dev"], ["--trainer.devices"]),
        (["fit", "--model.tau"], []),
        (["fit", "--model", "SAC", "--model.tau"], ["--model.tau"]),
        (["fit", "--resume.checkpoint", "l"], [*RUNS, "last"]),
        (["test", "--epi"], ["--episodes"]),
        (["fit", "--epi"], []),
        (["test", "lightning_logs/s"], ["lightning_logs/second/version_0"]),
        (["show", "lightning_logs/s"], ["lightning_logs/second/version_0"]),
        (["show", "--j"], ["--json"]),
        (["export", "x", "--format", ""], ["onnx", "sb3", "torchscript"]),
        (["play", "x", "--which", ""], ["best", "last"]),
        (["completion", "z"], ["zsh"]),
        (["fit", "--config", ""], []),
        (["no-such", ""], []),
    ],
)
def test_what_may_come_next(
    place: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: list[str]
) -> None:
    monkeypatch.chdir(place)
    assert candidates(words) == sorted(expected)


def test_a_shell_that_is_not_there(cli: Cli) -> None:
    with pytest.raises(SystemExit):
        cli("completion", "tcsh")
