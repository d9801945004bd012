"""`model.fast: compile`: what an update calls of the networks is what torch.compile has made."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lit_rl.errors import ConfigError
from lit_rl.networks.compiled import lacks_compiler
from lit_rl.training.fast import COMPILED
from tests.algorithms.test_fast import trained
from tests.helpers.on_policy import weights

needs_compiler = pytest.mark.skipif(lacks_compiler(torch.device("cpu")) is not None, reason="no C++ compiler")


class Recorder:
    """Stands in for torch.compile, and counts the calls of what it has made."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, function: Any, dynamic: bool) -> Any:
        assert dynamic is False
        number = len(self.calls)
        self.calls.append(0)

        def called(*args: Any) -> Any:
            self.calls[number] += 1
            return function(*args)

        return called


@pytest.mark.parametrize(
    ("case", "each"),
    [
        ("PPO", [2]),  # minibatches in an epoch
        ("A2C", [1]),
        ("DQN", [1, 1]),
        ("SAC", [2, 2, 0, 1]),  # the actor acts for both, the critics learn, and judge
        ("DDPG", [1, 1, 1, 1, 1]),  # the first critic alone judges
    ],
)
def test_an_update_calls_what_was_compiled(case: str, each: list[int], monkeypatch: Any) -> None:
    recorder = Recorder()
    theirs = trained(case, 6, fast=False)
    monkeypatch.setattr(torch, "compile", recorder)
    monkeypatch.setattr("lit_rl.algorithms.gradients.lacks_compiler", lambda device: None)
    ours = trained(case, 6, fast="compile")
    assert ours.gradients == COMPILED
    updates = ours.counters.updates
    assert updates > 1
    assert recorder.calls[-len(each) :] == [updates * times for times in each]
    for (name, one), other in zip(weights(ours).items(), weights(theirs).values(), strict=True):
        assert torch.equal(one, other), name


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("case", ["PPO", "SAC"])
def test_compiled_for_true(case: str) -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    ours, theirs = trained(case, 5, fast="compile"), trained(case, 5, fast=False)
    assert counters["stats"]["unique_graphs"] >= 1
    for (name, one), other in zip(weights(ours).items(), weights(theirs).values(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4, msg=name)


def test_without_a_compiler_it_is_refused(monkeypatch: Any) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/nowhere/g++",))
    with pytest.raises(ConfigError, match=r"model\.fast: torch\.compile needs a C\+\+ compiler .*; use auto or false"):
        trained("PPO", 1, fast="compile")


def test_pieces_are_not_compiled() -> None:
    with pytest.raises(ConfigError, match=r"model\.fast: compile is for one rank"):
        trained("PPO", 1, fast="compile", deterministic_reduction=True)
