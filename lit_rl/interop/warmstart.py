"""What a run that starts from an agent needs to know: its weights by today's names, its moments, what is set
differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lit_rl.errors import ConfigError
from lit_rl.interop.places import numbered
from lit_rl.interop.sb3 import Agent
from lit_rl.interop.settings import by_zoo_name, kinds
from lit_rl.interop.vecnormalize import VecNormalizeStats, find_vecnormalize, own_names, read_vecnormalize


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
    algorithm = by_zoo_name().get(agent.algorithm)
    shared = (kinds(algorithm) if algorithm else {}).keys() & agent.settings.keys() & init_args.keys()
    pairs = [(key, agent.settings[key], init_args[key]) for key in sorted(shared)]
    own, run = agent.policy_kwargs, init_args.get("policy_kwargs") or {}
    pairs += [(f"policy_kwargs.{key}", own[key], run[key]) for key in sorted(own.keys() & run.keys())]
    return [Mismatch(key, left, right) for key, left, right in pairs if left != right]


def with_newer_names(policy: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """A file's tensors, with those of a features extractor under its newer names too, where a network has them.

    Files from before SB3 1.7 name one that policy and value share once.
    """
    found = dict(policy)
    for name in names:
        for prefix in ("pi_", "vf_"):
            older = name.removeprefix(prefix)
            if name not in found and name.startswith(f"{prefix}features_extractor.") and older in found:
                found[name] = found[older]
    return found


def moments_for(
    agent: Agent, given: str | Path | None = None, key: str = "warmstart.vecnormalize"
) -> tuple[VecNormalizeStats, Path] | tuple[None, None]:
    """The moments an agent was trained with, and their file: `given`, or found by name; (None, None) without any.

    Where several lie there, those that were taken nearest to the agent's timesteps are its own: a `best_model.zip` is
    older than what the Zoo writes at the end of training.

    Args:
        agent: of which.
        given: the pickle.
        key: of the setting that names it, for errors.

    Raises:
        ConfigError: the agent was trained with moments, and there are none; says where it looked.
    """
    if given is not None:
        return read_vecnormalize(given), Path(given)
    path, places = find_vecnormalize(agent.path)
    wanted = agent.settings.get("num_timesteps")
    if path is not None and (path in own_names(agent.path) or not isinstance(wanted, int)):
        return read_vecnormalize(path), path
    others = [place for place in [*places, *_numbered_beside(agent)] if place.is_file()]
    if others and isinstance(wanted, int):
        found = [(read_vecnormalize(place), place) for place in others]
        return min(found, key=lambda each: abs(each[0].timesteps - wanted))
    if agent.used_vecnormalize:
        looked = ", ".join(str(place) for place in places)
        problem = f"{agent.path} was trained with VecNormalize, and its pickle is not at {looked}; give its path"
        raise ConfigError(f"{key}: {problem}.")
    return None, None


def _numbered_beside(agent: Agent) -> list[Path]:
    """Of the pickles that CheckpointCallback has left beside a zip that is not one of its own, the nearest in time."""
    wanted = agent.settings.get("num_timesteps")
    if numbered(agent.path.stem) is not None or type(wanted) is not int:
        return []
    by_name = ((numbered(path.stem), path) for path in sorted(agent.path.parent.glob("*_vecnormalize_*_steps.pkl")))
    found = [(abs(name[1] - wanted), path) for name, path in by_name if name is not None]
    return [min(found)[1]] if found else []


def said_of_moments(agent: Agent, stats: VecNormalizeStats, path: Path) -> str:
    """Where an agent's moments come from, and a warning where they are of another time."""
    wanted, n_envs = agent.settings.get("num_timesteps"), agent.settings.get("n_envs")
    if type(wanted) is int and type(n_envs) is int and abs(stats.timesteps - wanted) > wanted // 50 + 16 * n_envs:
        return (
            f"WARNING: moments from {path}, of about timestep {stats.timesteps:,}; the weights are of timestep "
            f"{wanted:,}, and no others are there"
        )
    return f"moments from {path}"
