"""What a run that starts from an agent needs to know: which weights fit, which moments belong, what is set
differently.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lit_rl.errors import ConfigError
from lit_rl.interop.parts import network_parts
from lit_rl.interop.sb3 import Agent
from lit_rl.interop.vecnormalize import VecNormalizeStats, find_vecnormalize, read_vecnormalize
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


@dataclass(frozen=True)
class Fit:
    """Which tensors of a file go into a network, by the parts asked for.

    `tensors` are by the network's names; `loaded` counts them by part; `problems` says in one line each
    what is missing, has another shape, or has no place in the network.
    """

    tensors: dict[str, Tensor]
    loaded: dict[str, int]
    problems: tuple[str, ...]


def fit_weights(policy: Mapping[str, Tensor], target: Mapping[str, Tensor], load: Collection[str]) -> Fit:
    """Match a file's tensors with a network's state dict by name, for the parts in `load` (`policy`,
    `value`).

    Files from before SB3 1.7 name a shared features extractor once; it is found for its newer names too.
    """
    source = dict(policy)
    for name in target:
        for prefix in ("pi_", "vf_"):
            older = name.removeprefix(prefix)
            if name not in source and name.startswith(f"{prefix}features_extractor.") and older in source:
                source[name] = source[older]
    tensors: dict[str, Tensor] = {}
    loaded = dict.fromkeys(load, 0)
    problems: list[str] = []
    for name, part in network_parts(target, "the run's policy").items():
        if part not in loaded:
            continue
        if name not in source:
            problems.append(f"{name} ({part}): not in the file")
        elif source[name].shape != target[name].shape:
            shapes = f"{tuple(source[name].shape)} in the file, {tuple(target[name].shape)} in the run"
            problems.append(f"{name} ({part}): {shapes}")
        else:
            tensors[name] = source[name]
            loaded[part] += 1
    for name, part in network_parts(policy, "the file").items():
        if part in loaded and name not in target:
            problems.append(f"{name} ({part}): has no place in the run's policy")
    return Fit(tensors, loaded, tuple(problems))


def moments_for(agent: Agent, given: str | Path | None = None) -> tuple[VecNormalizeStats, Path] | tuple[None, None]:
    """The moments an agent was trained with, and their file: `given`, or found by name; (None, None)
    without any. it had none.

    Raises `ConfigError` saying where it looked when the agent was trained with moments and there are none.
    """
    if given is not None:
        return read_vecnormalize(given), Path(given)
    path, places = find_vecnormalize(agent.path)
    if path is not None:
        return read_vecnormalize(path), path
    if agent.used_vecnormalize:
        looked = ", ".join(str(place) for place in places)
        problem = f"{agent.path} was trained with VecNormalize, and its pickle is not at {looked}; give its path"
        raise ConfigError(f"warmstart.vecnormalize: {problem}.")
    return None, None
