"""What an agent was trained with, against what the run that starts from it is set to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lit_rl.interop.sb3 import Agent
from lit_rl.interop.zoo import HYPERPARAMETERS


@dataclass(frozen=True)
class Mismatch:
    """A setting that differs: its key in run.yaml's `model`, the agent's value and the run's."""

    key: str
    agent: Any
    run: Any

    def __str__(self) -> str:
        return f"{self.key}: the agent was trained with {self.agent!r}, the run is set to {self.run!r}"


def mismatches(agent: Agent, init_args: Mapping[str, Any]) -> list[Mismatch]:
    """Settings that both sides name and that differ; `init_args` is run.yaml's `model.init_args`.

    A setting that only one side names is no mismatch: the file may be unable to say it, the run may keep a
    default.
    """
    shared = HYPERPARAMETERS & agent.settings.keys() & init_args.keys()
    pairs = [(key, agent.settings[key], init_args[key]) for key in sorted(shared)]
    own, run = agent.policy_kwargs, init_args.get("policy_kwargs") or {}
    pairs += [(f"policy_kwargs.{key}", own[key], run[key]) for key in sorted(own.keys() & run.keys())]
    return [Mismatch(key, left, right) for key, left, right in pairs if left != right]
