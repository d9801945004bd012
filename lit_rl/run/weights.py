"""Taking weights and moments over from another run, by name, with a report part by part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lit_rl.algorithms import algorithms
from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.interop.sb3 import Agent
from lit_rl.interop.vecnormalize import Moments, VecNormalizeStats
from lit_rl.interop.warmstart import mismatches, moments_for, said_of_moments, with_newer_names
from lit_rl.networks.tensors import Owned, owners, part_of
from lit_rl.run.config import WarmstartConfig
from lit_rl.run.lineage import digest_of
from lit_rl.state.parts import union
from lit_rl.training.module import RLModule

MOMENTS = ("obs_moments", "reward_moments")


@dataclass
class Report:
    """What was loaded and what was not, a line a part."""

    lines: list[str] = field(default_factory=list)
    digest: str | None = None
    """sha256 of what was read, where it has no manifest."""

    def add(self, part: str, text: str) -> None:
        self.lines.append(f"{part}: {text}")


SKIPPING = " warmstart.on_mismatch: skip takes over what fits."


def owned_by(module: RLModule) -> dict[str, Owned]:
    """Whose each tensor of the module's `state_dict` is."""
    return owners(module.state_dict(), union(type(module), "TENSORS"))


def check_shapes(ours: dict[str, Tensor], theirs: dict[str, Tensor], what: str, way_out: str = "") -> None:
    """Compare two sets of tensors by name and shape. `way_out` is said at the end of the error.

    Raises:
        ConfigError: names the first tensor that differs, with both shapes.
    """
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in theirs:
            raise ConfigError(f"{what} has no tensor '{name}' {_shape(ours[name])}, which this model has.{way_out}")
        if name not in ours:
            raise ConfigError(
                f"{what} has a tensor '{name}' {_shape(theirs[name])}, which this model has not.{way_out}"
            )
        if _shape(ours[name]) != _shape(theirs[name]):
            raise ConfigError(
                f"{what}: tensor '{name}' has shape {_shape(theirs[name])}, this model needs "
                f"{_shape(ours[name])}; check model.policy_kwargs and the environment.{way_out}"
            )


def _shape(value: Any) -> tuple[int, ...]:
    """Of a tensor; that of a module's extra state, which may be anything, is no shape."""
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def warmstart(module: RLModule, theirs: dict[str, Tensor], config: WarmstartConfig, what: str) -> Report:
    """Copy the parts named in `warmstart.load` into a fresh module.

    Args:
        module: with its networks built.
        theirs: the trained tensors, named as in the module's `state_dict`.
        config: which parts, and what to do with other shapes.
        what: what they come from, for messages.

    Raises:
        ConfigError: a tensor is missing or has another shape, or weights need moments that are not there. Nothing has
            been copied then.
    """
    taken = Takeover(module, theirs, config, what)
    _check_moments(taken.given, taken.mine, union(type(module), "TAKES"), config, what)
    taken.check(MOMENTS)
    return taken.load()


class Takeover:
    """The tensors of a trained run beside those of a module, part by part; the arguments are those of `warmstart`.

    Args:
        way_out: what is said at the end of an error.
    """

    def __init__(
        self,
        module: RLModule,
        theirs: dict[str, Tensor],
        config: WarmstartConfig,
        what: str,
        way_out: str = SKIPPING,
    ) -> None:
        check_load(module, config)
        self._module, self._config, self._what, self._whose = module, config, what, owned_by(module)
        self._way_out = way_out
        self.mine: dict[str, dict[str, Any]] = {}
        self.given: dict[str, dict[str, Any]] = {}
        table = union(type(module), "TENSORS")
        for name, tensor in module.state_dict().items():
            self.mine.setdefault(self._whose[name].part, {})[name] = tensor
        for name, tensor in theirs.items():
            part = self._whose[name].part if name in self._whose else part_of(name, table)
            self.given.setdefault(part, {})[name] = tensor
        networks = [part for part in [*self.mine, *self.given] if part not in MOMENTS]
        self.parts = list(dict.fromkeys(["policy", "value", *networks]))
        self.check(self.parts)

    def check(self, parts: Iterable[str]) -> None:
        """Refuse what does not fit in the parts that are asked for, unless it may be skipped."""
        if self._config.on_mismatch == "skip":
            return
        for part in parts:
            mine, given = self.mine.get(part, {}), self.given.get(part, {})
            if part not in self._config.load or (part in MOMENTS and not mine):
                continue
            check_shapes(mine, given, self._what, self._way_out)
            for name in mine:
                twin = self._whose[name].twin
                if twin is not None and not torch.equal(given[name], given[twin]):
                    raise ConfigError(
                        f"{self._what}: tensors '{name}' and '{twin}' differ, and are one in this model; set "
                        "model.policy_kwargs.share_features_extractor: false."
                    )

    def load(self) -> Report:
        """Copy what is asked for and fits; says so."""
        report = Report()
        for part in [*self.parts, *MOMENTS]:
            mine, given = self.mine.get(part, {}), self.given.get(part, {})
            if part not in self._config.load:
                if given or mine:
                    report.add(part, "not loaded (not in warmstart.load)")
            elif not mine and (not given or part in MOMENTS):
                report.add(part, "not loaded (this run does not normalise it)" if given else "none on either side")
            else:
                report.add(part, self._copy(mine, given))
        return report

    @torch.no_grad()
    def _copy(self, mine: dict[str, Any], given: dict[str, Any]) -> str:
        skipped = []
        for name, tensor in mine.items():
            if name not in given or _shape(given[name]) != _shape(tensor):
                skipped.append(name)
            elif not isinstance(tensor, Tensor):
                self._module.load_state_dict({name: given[name]}, strict=False)
            elif self._whose[name].twin is None:
                tensor.copy_(given[name])
        loaded = f"{len(mine) - len(skipped)} tensors loaded"
        return f"{loaded}, skipped {', '.join(skipped)}" if skipped else loaded


def check_load(module: RLModule, config: WarmstartConfig) -> None:
    """Refuse a part in `warmstart.load` that no module has and this one does not either.

    Args:
        module: with its networks built.
        config: with the parts.

    Raises:
        ConfigError: names the part and those there are, or says that this algorithm has none of the kind.
    """
    parts = list(dict.fromkeys(["policy", "value", *MOMENTS, *(each.part for each in owned_by(module).values())]))
    parts += union(type(module), "TAKES")
    for part in config.load:
        if part in parts:
            continue
        if any(part in union(cls, "TAKES") for cls in algorithms().values()):
            raise ConfigError(f"warmstart.load: {type(module).__name__} has no {part}; take it out.")
        raise ConfigError(f"warmstart.load: '{part}' is not one of {', '.join(parts)}.{did_you_mean(part, parts)}")


def _temperature(agent: Agent) -> dict[str, Tensor]:
    """SAC's entropy coefficient, which its files keep beside the policy."""
    for name in ("pytorch_variables.pth", "tensors.pth"):
        found = agent.tensors.get(name)
        tensor = found.get("log_ent_coef") if isinstance(found, dict) else None
        if isinstance(tensor, Tensor):
            return {"log_ent_coef": tensor.detach()}
    return {}


def tensors_of(agent: Agent, module: RLModule) -> dict[str, Tensor]:
    """The tensors of an agent, without its moments, by the names of a module's `state_dict`."""
    names = [name.removeprefix("policy.") for name in module.state_dict() if name.startswith("policy.")]
    theirs = {f"policy.{name}": tensor for name, tensor in with_newer_names(agent.policy, names).items()}
    return theirs | _temperature(agent)


def warmstart_from_agent(module: RLModule, agent: Agent, config: WarmstartConfig) -> Report:
    """Copy the parts named in `warmstart.load` from a stable-baselines3 agent and its VecNormalize pickle.

    Settings of the agent that differ from the run's are named in the report.

    Raises:
        ConfigError: as `warmstart`, and when the agent's moments are asked for and cannot be found.
        DataError: the pickle holds something other than moments.
    """
    what = str(agent.path)
    theirs = tensors_of(agent, module)
    Takeover(module, theirs, config, what)
    notes = _add_moments(theirs, agent, config)
    weights = "policy" in config.load or "value" in config.load
    if weights and agent.used_vecnormalize and not (module.normalizer.obs or module.normalizer.reward):
        raise ConfigError(
            f"warmstart: {what} was trained with VecNormalize, but env.normalize is off; set env.normalize.obs (and "
            "reward) as it was."
        )
    report = warmstart(module, theirs, config, what)
    report.digest = digest_of(agent.path)
    report.lines += [*notes, *map(str, mismatches(agent, module.settings()))]
    return report


def count_as(module: RLModule, agent: Agent) -> None:
    """Let a module stand where an agent stood; DQN's share of random actions depends on how long it was trained."""
    done, target = (agent.settings.get(key) for key in ("num_timesteps", "_total_timesteps"))
    if type(done) is int and done >= 0:
        module.counters.timesteps = done
    if type(target) is int and target > 0:
        module.clock.target = module.clock.horizon = target


def _add_moments(theirs: dict[str, Tensor], agent: Agent, config: WarmstartConfig) -> list[str]:
    """Add the agent's moments to its tensors, where `load` asks for any; returns what is said of them."""
    if "obs_moments" not in config.load and "reward_moments" not in config.load:
        return []
    stats, path = moments_for(agent, config.vecnormalize)
    if stats is None or path is None:
        return []
    theirs |= tensors_of_moments(stats)
    return [said_of_moments(agent, stats, path)]


def tensors_of_moments(stats: VecNormalizeStats) -> dict[str, Tensor]:
    """Moments by the names of a module's `state_dict`; those of rewards only where there are any."""
    found: dict[str, Moments] = {}
    if isinstance(stats.obs, dict):
        found |= {f"normalizer.obs.{key}": moments for key, moments in stats.obs.items()}
    elif stats.obs is not None:
        found["normalizer.obs.obs"] = stats.obs
    if stats.reward.count > 1:  # an evaluation's pickle has norm_reward off, and the moments of training still
        found["normalizer.reward"] = stats.reward
    return {
        f"{prefix}.{name}": torch.as_tensor(getattr(moments, name), dtype=torch.float64)
        for prefix, moments in found.items()
        for name in ("mean", "var", "count")
    }


def _check_moments(
    given: dict[str, dict[str, Tensor]],
    mine: dict[str, dict[str, Tensor]],
    beside: Iterable[str],
    config: WarmstartConfig,
    what: str,
) -> None:
    trained_with, normalises = "obs_moments" in given, "obs_moments" in mine
    if all(part in (*MOMENTS, *beside) for part in config.load):
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
