"""Taking weights and moments over from another run, by name, with a report part by part."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from lit_rl.errors import ConfigError
from lit_rl.interop.sb3 import Agent
from lit_rl.interop.vecnormalize import Moments
from lit_rl.interop.warmstart import fit_weights, mismatches, moments_for
from lit_rl.networks.actor_critic import is_value_tensor
from lit_rl.run.config import WarmstartConfig
from lit_rl.training.module import RLModule


@dataclass
class Report:
    """What was loaded and what was not, a line a part."""

    lines: list[str] = field(default_factory=list)
    digest: str | None = None
    """sha256 of what was read, where it has no manifest."""

    def add(self, part: str, text: str) -> None:
        self.lines.append(f"{part}: {text}")


def part_of(name: str) -> str:
    """The part a tensor of the module's `state_dict` belongs to."""
    if name.startswith("normalizer.obs."):
        return "obs_moments"
    if name.startswith("normalizer.reward."):
        return "reward_moments"
    return "value" if is_value_tensor(name.removeprefix("policy.")) else "policy"


def check_shapes(ours: dict[str, Tensor], theirs: dict[str, Tensor], what: str) -> None:
    """Compare two sets of tensors by name and shape.

    Raises:
        ConfigError: names the first tensor that differs, with both shapes.
    """
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in theirs:
            raise ConfigError(f"{what} has no tensor '{name}' {tuple(ours[name].shape)}, which this model has.")
        if name not in ours:
            raise ConfigError(f"{what} has a tensor '{name}' {tuple(theirs[name].shape)}, which this model has not.")
        if ours[name].shape != theirs[name].shape:
            raise ConfigError(
                f"{what}: tensor '{name}' has shape {tuple(theirs[name].shape)}, this model needs "
                f"{tuple(ours[name].shape)}; check model.policy_kwargs and the environment."
            )


def warmstart(module: RLModule, theirs: dict[str, Tensor], config: WarmstartConfig, what: str) -> Report:
    """Copy the parts named in `warmstart.load` into a fresh module.

    Args:
        module: with its networks built.
        theirs: the trained tensors, named as in the module's `state_dict`.
        config: which parts, and what to do with other shapes.
        what: what they come from, for messages.

    Raises:
        ConfigError: a tensor is missing or has another shape, or weights need moments that are not there.
    """
    ours = module.state_dict()
    by_part: dict[str, dict[str, Tensor]] = {}
    for name, tensor in theirs.items():
        by_part.setdefault(part_of(name), {})[name] = tensor
    _check_moments(by_part, ours, config, what)
    report = Report()
    for part in ("policy", "value", "obs_moments", "reward_moments"):
        mine = {name: tensor for name, tensor in ours.items() if part_of(name) == part}
        given = by_part.get(part, {})
        if part not in config.load:
            if given or mine:
                report.add(part, "not loaded (not in warmstart.load)")
            continue
        if not given and not mine:
            report.add(part, "none on either side")
            continue
        if part.endswith("_moments") and not mine:
            report.add(part, "not loaded (this run does not normalise it)")
            continue
        if config.on_mismatch == "error":
            check_shapes(mine, given, what)
        skipped = []
        with torch.no_grad():
            for name, tensor in mine.items():
                if name in given and given[name].shape == tensor.shape:
                    tensor.copy_(given[name])
                else:
                    skipped.append(name)
        loaded = len(mine) - len(skipped)
        report.add(part, f"{loaded} tensors loaded" + (f", skipped {', '.join(skipped)}" if skipped else ""))
    return report


def warmstart_from_agent(module: RLModule, agent: Agent, config: WarmstartConfig) -> Report:
    """Copy the parts named in `warmstart.load` from a stable-baselines3 agent and its VecNormalize pickle.

    Settings of the agent that differ from the run's are named in the report.

    Raises:
        ConfigError: as `warmstart`, and when the agent's moments are asked for and cannot be found.
        DataError: the pickle holds something other than moments.
    """
    what = str(agent.path)
    policy = {k.removeprefix("policy."): v for k, v in module.state_dict().items() if k.startswith("policy.")}
    fit = fit_weights(agent.policy, policy, [part for part in config.load if part in ("policy", "value")])
    if fit.problems and config.on_mismatch == "error":
        raise ConfigError(f"{what}: tensor {fit.problems[0]}; check model.policy_kwargs and the environment.")
    theirs = {f"policy.{name}": tensor for name, tensor in fit.tensors.items()}
    notes = [f"moments from {path}" for path in _add_moments(theirs, agent, config)]
    weights = "policy" in config.load or "value" in config.load
    if weights and agent.used_vecnormalize and not (module.normalizer.obs or module.normalizer.reward):
        raise ConfigError(
            f"warmstart: {what} was trained with VecNormalize, but env.normalize is off; set env.normalize.obs (and "
            "reward) as it was."
        )
    report = warmstart(module, theirs, config, what)
    report.digest = hashlib.sha256(agent.path.read_bytes()).hexdigest()
    report.lines += [*notes, *map(str, mismatches(agent, module.settings()))]
    return report


def _add_moments(theirs: dict[str, Tensor], agent: Agent, config: WarmstartConfig) -> list[Path]:
    """Add the agent's moments to its tensors, where `load` asks for any; returns the file they come from."""
    if "obs_moments" not in config.load and "reward_moments" not in config.load:
        return []
    stats, path = moments_for(agent, config.vecnormalize)
    if stats is None or path is None:
        return []
    found: dict[str, Moments] = {}
    if isinstance(stats.obs, dict):
        found |= {f"normalizer.obs.{key}": moments for key, moments in stats.obs.items()}
    elif stats.obs is not None:
        found["normalizer.obs.obs"] = stats.obs
    if stats.reward.count > 1:  # an evaluation's pickle has norm_reward off, and the moments of training still
        found["normalizer.reward"] = stats.reward
    for prefix, moments in found.items():
        for name in ("mean", "var", "count"):
            theirs[f"{prefix}.{name}"] = torch.as_tensor(getattr(moments, name), dtype=torch.float64)
    return [path]


def _check_moments(
    theirs: dict[str, dict[str, Tensor]], ours: dict[str, Tensor], config: WarmstartConfig, what: str
) -> None:
    trained_with = "obs_moments" in theirs
    normalises = any(part_of(name) == "obs_moments" for name in ours)
    if "policy" not in config.load and "value" not in config.load:
        return
    if trained_with and not normalises:
        raise ConfigError(
            f"warmstart: the weights of {what} were trained on normalised observations, but env.normalize.obs is "
            "false; set it to true."
        )
    if normalises and not trained_with and "obs_moments" in config.load:
        raise ConfigError(
            f"warmstart: env.normalize.obs is true, but {what} has no moments to go with its weights; set it to false, "
            "or take obs_moments out of warmstart.load to begin with new ones."
        )
