"""Going on with a run of stable-baselines3: what its files hold is put in place, and what they do not begins anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lit_rl.envs.spaces import plain_action_space, plain_space
from lit_rl.errors import ConfigError, DataError
from lit_rl.interop.history import History, history_beside
from lit_rl.interop.run_yaml import OURS_ALONE, draft_model, draft_normalize, read_zoo_beside
from lit_rl.interop.sb3 import Agent
from lit_rl.interop.settings import sb3_class, zoo_kinds, zoo_name
from lit_rl.interop.spaces import space_in
from lit_rl.interop.standing import OptimizerState, Standing, optimizer_states, take_over
from lit_rl.interop.vecnormalize import VecNormalizeStats
from lit_rl.interop.warmstart import moments_for, said_of_moments
from lit_rl.networks.actor_q import automatic_entropy
from lit_rl.networks.kwargs import resolve_policy_kwargs
from lit_rl.ops.schedules import as_schedule
from lit_rl.run.config import ResumeConfig, WarmstartConfig
from lit_rl.run.drift import Change
from lit_rl.run.journals import EvaluationsNpz, MonitorCsv
from lit_rl.run.lineage import digest_of
from lit_rl.run.sources import Source
from lit_rl.run.taken import REPLAY, take_replay_beside
from lit_rl.run.weights import MOMENTS, Takeover, owned_by, tensors_of, tensors_of_moments
from lit_rl.state.parts import union
from lit_rl.training.module import RLModule

NEW = "anew: episodes in flight and random streams, which the zip does not hold"


@dataclass
class Adopted:
    """What is put in place once the optimizers are there, and what is said of it.

    Args:
        standing: how far training has come.
        optimizers: states in our order; `None` for one that is not in the zip.
        history: of the files beside the zip.
        changed: settings that are not the agent's.
        notes: lines for the banner.
        parents: for the lineage.
    """

    standing: Standing
    optimizers: list[OptimizerState | None]
    history: History
    changed: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    parents: list[dict[str, Any]] = field(default_factory=list)


def check_kind(module: RLModule, agent: Agent) -> None:
    """Refuse an agent of another algorithm.

    Raises:
        ConfigError: it is of one.
    """
    if agent.algorithm != zoo_name(sb3_class(type(module)).__name__):
        raise ConfigError(
            f"resume.checkpoint: {agent.path} is an agent of {agent.algorithm.upper()}, but model.class_path is "
            f"{type(module).__name__}; set it as the agent has it, or begin a new run with its weights by mode: "
            "warmstart."
        )


def adopt(module: RLModule, source: Source, standing: Standing, config: ResumeConfig) -> Adopted:
    """Give a module with its environments and networks built the state that an agent's files hold.

    Raises:
        ConfigError: they do not fit the run.
        DataError: one is damaged.
    """
    agent = source.agent
    assert agent is not None
    _check_spaces(module, agent)
    names = [name for name, _ in module.policy.named_parameters()]
    n_envs = agent.settings.get("n_envs")
    count = n_envs if type(n_envs) is int and n_envs > 0 else 1
    history = history_beside(agent.path, standing.timesteps, count)
    adopted = Adopted(standing, optimizer_states(agent, names), history)
    stats = _take_tensors(module, agent, config, adopted)
    theirs = draft_model(agent, type(module), read_zoo_beside(agent))
    if "action_noise" not in agent.not_read:
        theirs.setdefault("noise_type", None)
    adopted.changed = [*_changes(module, theirs, stats), *_other_n_envs(module, count)]
    adopted.notes += _not_told(module, agent, theirs)
    parent = {"path": str(agent.path), "sha256": digest_of(agent.path), "sb3_version": agent.sb3_version}
    adopted.parents.append({**parent, "timesteps": standing.timesteps})
    _count(module, standing)
    module.begin_at(standing.steps, standing.counted)
    if REPLAY in union(type(module), "TAKES"):
        _take_replay(module, source, config, adopted)
    adopted.notes += history.said
    adopted.notes.append(NEW)
    return adopted


def _check_spaces(module: RLModule, agent: Agent) -> None:
    try:
        spaces = space_in(agent, "observation_space"), space_in(agent, "action_space")
    except DataError:
        return  # of versions that nobody has; the shapes of the weights have to tell
    module.play.check_spaces(plain_space(spaces[0]), plain_action_space(spaces[1]), of=str(agent.path))


def _take_tensors(module: RLModule, agent: Agent, config: ResumeConfig, adopted: Adopted) -> VecNormalizeStats | None:
    """Weights, temperature and moments, all of them; returns the moments' file."""
    theirs, what = tensors_of(agent, module), str(agent.path)
    stats, path = moments_for(agent, config.vecnormalize, "resume.vecnormalize")
    normalizer = module.normalizer
    if stats is not None and path is not None:
        theirs |= tensors_of_moments(stats)
        adopted.notes.append(said_of_moments(agent, stats, path))
        if stats.norm_obs and not normalizer.obs:
            raise ConfigError(
                f"env.normalize.obs: is false, and {what} was trained on normalised observations; set it to true."
            )
    elif normalizer.obs:
        raise ConfigError(
            f"env.normalize.obs: is true, and {what} has no VecNormalize pickle beside it; give its path with "
            "resume.vecnormalize, or set it to false."
        )
    parts = list(dict.fromkeys(each.part for each in owned_by(module).values()))
    if "reward_moments" in parts and "normalizer.reward.mean" not in theirs:
        parts.remove("reward_moments")
        adopted.notes.append("reward_moments: there are none beside the zip; they begin anew")
    taken = Takeover(module, theirs, WarmstartConfig(load=parts), what, way_out="")
    taken.check(MOMENTS)
    said = taken.load().lines
    silent = ("none on either side", "not in warmstart.load")
    adopted.notes[:0] = [line for line in said if not any(words in line for words in silent)]
    return stats


def _count(module: RLModule, standing: Standing) -> None:
    counters, clock = module.counters, module.clock
    counters.timesteps, counters.updates = standing.timesteps, standing.updates
    counters.episodes = standing.episodes
    clock.horizon = standing.target or clock.target
    clock.target = clock.horizon
    module.episodes.extend(standing.window)


def _take_replay(module: RLModule, source: Source, config: ResumeConfig, adopted: Adopted) -> None:
    found = take_replay_beside(module, source, config.replay)
    if found is not None:
        adopted.notes += found.lines
        adopted.parents += found.parents
        return
    until = module.counters.refilled_at
    if not until:
        return  # nothing had been played
    adopted.notes.append(
        f"WARNING: replay: there is no replay pickle beside {source.path}: it fills anew while the policy acts, and "
        f"learning goes on from timestep {until:,} (resume.replay names a pickle)"
    )


def _not_told(module: RLModule, agent: Agent, theirs: Mapping[str, Any]) -> list[str]:
    """Settings that stand in the zip in a form that is not read: nobody has compared them."""
    ours = module.settings()
    said = [
        f"WARNING: {key}: {agent.not_read[key]}; the run's {ours[key]} is used: make sure that it is the same"
        for key in zoo_kinds(type(module))
        if key in agent.not_read and key not in theirs
    ]
    if "action_noise" in agent.not_read and ours.get("noise_type") is None:
        said.append("WARNING: action_noise: the agent has one, in a form that is not read; give model.noise_type")
    return said


def _changes(module: RLModule, theirs: Mapping[str, Any], stats: VecNormalizeStats | None) -> list[Change]:
    """Settings of the run that are not those that the agent was trained with, as its files say them in our words."""
    ours = module.settings()
    found = [
        Change(key, theirs[key], ours[key])
        for key, kind in zoo_kinds(type(module)).items()
        if key in theirs and key in ours and not _same(kind, theirs[key], ours[key], module, key)
    ]
    found += [Change(key, theirs[key], ours[key]) for key in OURS_ALONE if key in theirs and theirs[key] != ours[key]]
    made: Any = module
    given, own = (resolve_policy_kwargs(each.get("policy_kwargs"), made.policy_class) for each in (theirs, ours))
    for key in sorted((given.keys() | own.keys()) - {"net_arch"}):  # which the tensors tell
        if given.get(key) != own.get(key):
            found.append(Change(f"policy_kwargs.{key}", _named(given.get(key)), _named(own.get(key))))
    normalize = draft_normalize(stats) or {}
    block = ours["env"]["normalize"] if isinstance(ours["env"].get("normalize"), dict) else {}
    for key in ("clip_obs", "clip_reward", "epsilon"):
        if key in normalize and key in block and normalize[key] != block[key]:
            found.append(Change(f"env.normalize.{key}", normalize[key], block[key]))
    if normalize.get("reward") and not module.normalizer.config.reward:  # off in a pickle may be an evaluation's
        found.append(Change("env.normalize.reward", True, False))
    if "gamma" in normalize and module.normalizer.config.reward and normalize["gamma"] != module.normalizer.gamma:
        found.append(Change("env.normalize.gamma", normalize["gamma"], module.normalizer.gamma))
    return found


def _named(value: Any) -> Any:
    return getattr(value, "__name__", value)


def _same(kind: str, theirs: Any, ours: Any, module: RLModule, key: str) -> bool:
    if kind == "schedule" and theirs is not None and ours is not None:
        return as_schedule(theirs, key) == as_schedule(ours, key)
    if kind == "frequency":
        return _pair(theirs) == _pair(ours)
    if key == "target_entropy" and ours == "auto":
        return bool(theirs == "auto" or theirs == automatic_entropy(module.action_space.shape or ()))
    return bool(theirs == ours)


def _pair(frequency: Any) -> list[Any]:
    return [frequency, "step"] if isinstance(frequency, int) else list(frequency)


def _other_n_envs(module: RLModule, theirs: int) -> list[Change]:
    ours = module.env_config.n_envs
    return [] if ours == theirs else [Change("env.n_envs", theirs, ours)]


def put_in_place(adopted: Adopted, module: RLModule, optimizers: list[Any]) -> list[str]:
    """Let optimizers that have taken no step go on, and the journals with what lies behind; returns what to say.

    Args:
        adopted: from `adopt`.
        module: that is about to train.
        optimizers: the Trainer's.
    """
    names, said = [name for name, _ in module.policy.named_parameters()], list[str]()
    for optimizer, state in zip(optimizers, adopted.optimizers, strict=False):
        if state is None:
            said.append("WARNING: optimizer: the zip does not hold its state, and its moments begin anew")
        else:
            said += take_over(optimizer, names, state)
    history = adopted.history
    module.log_book.seconds = history.seconds
    for journal in module.loop.journals if module.ranks.is_first else []:
        if isinstance(journal, MonitorCsv) and history.episodes:
            journal.begin_with(history.episodes)
        elif isinstance(journal, EvaluationsNpz) and history.evaluations:
            journal.begin_with(history.evaluations)
    return said
