"""What a warm start takes over beside weights and moments: parts of a rank's state, such as a replay."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.checkpoint.reader import load_rank
from lit_rl.errors import ConfigError
from lit_rl.interop.replay_pickle import FIXES, find_replay, read_replay
from lit_rl.run.config import WarmstartConfig
from lit_rl.run.lineage import digest_of
from lit_rl.run.sources import Source
from lit_rl.state.parts import union
from lit_rl.state.space import describe, space_from_plain
from lit_rl.training.module import RLModule

REPLAY = "replay"
"""The part that stable-baselines3 keeps in a pickle of its own."""


@dataclass
class Taken:
    """What was taken over: lines for the banner, and files beside the checkpoint for the lineage."""

    lines: list[str] = field(default_factory=list)
    parents: list[dict[str, Any]] = field(default_factory=list)


def take_parts(module: RLModule, source: Source, config: WarmstartConfig) -> Taken:
    """Give a fresh module the parts in `warmstart.load` that its class names in `TAKES`.

    Args:
        module: with its environments and networks built.
        source: the trained run.
        config: with the parts.

    Raises:
        ConfigError: there is no such part, or it does not fit.
        DataError: it is damaged.
    """
    taken = Taken()
    for part in union(type(module), "TAKES"):
        if part in config.load:
            _refuse_ranks(module, source, part)
            pickled = part == REPLAY and (source.agent is not None or config.replay is not None)
            state, what, notes = _pickled(module, source, config) if pickled else _state(module, source, part)
            taken.lines += [f"{part}: {module.take_part(part, state, what)}", *notes]
            if pickled:
                taken.parents.append(_digested(what))
        elif source.checkpoint is not None and any(f.startswith(f"{part}_") for f in source.checkpoint.manifest.files):
            taken.lines.append(f"{part}: not loaded (not in warmstart.load)")
    return taken


def _refuse_ranks(module: RLModule, source: Source, part: str) -> None:
    """A part of each rank's own is taken over from one rank, by one."""
    written = 1 if source.checkpoint is None else source.checkpoint.manifest.world_size
    if written > 1:
        raise ConfigError(
            f"warmstart.load: {source.path} was written by {written} ranks, each with the {part} of its own "
            f"environments; take {part} out of warmstart.load."
        )
    if not module.ranks.alone:
        raise ConfigError(
            f"warmstart.load: {part} is taken over in one process only; set trainer.devices: 1, or take it out."
        )


def _state(module: RLModule, source: Source, part: str) -> tuple[dict[str, Any], str, list[str]]:
    """A part of a trained run's state, where it comes from, and what is said of it."""
    out = f"take {part} out of warmstart.load."
    if source.checkpoint is None:
        raise ConfigError(
            f"warmstart.load: {source.path} is a bare file without the {part} of its run; name its checkpoint "
            f"directory, or {out}"
        )
    ours = source.ours
    state: dict[str, Any] = load_rank(source.checkpoint, 0).get(part, {})
    if not state:
        raise ConfigError(f"warmstart.load: {source.path} was written by {ours['algorithm']} and has no {part}; {out}")
    action = space_from_plain(ours["action_space"])
    module.play.check_spaces(space_from_plain(ours["observation_space"]), action, of=f"the {part} of {source.path}")
    check_bounds(module, action, f"the {part} of {source.path}", out)
    return state, str(source.path), []


def _pickled(module: RLModule, source: Source, config: WarmstartConfig) -> tuple[dict[str, Any], str, list[str]]:
    """The same of a replay pickle of stable-baselines3."""
    path, places = _pickle_of(source, config.replay, "warmstart")
    if path is None:
        raise ConfigError(
            f"warmstart.load: the replay pickle of {source.path} is at none of {', '.join(map(str, places))}; give its "
            "path with warmstart.replay, or take replay out of warmstart.load."
        )
    return _state_in(module, path, "warmstart")


def _pickle_of(source: Source, given: str | None, block: str) -> tuple[Path | None, list[Path]]:
    """The replay pickle that is named, or that lies beside a zip; and where it was looked for."""
    found, places = (None, []) if source.agent is None else find_replay(source.path)
    path = found if given is None else Path(given)
    if path is not None and not path.is_file():
        raise ConfigError(
            f"{block}.replay: {path} is no file; name a replay pickle of stable-baselines3, or remove it."
        )
    return path, places


def _state_in(module: RLModule, path: Path, block: str) -> tuple[dict[str, Any], str, list[str]]:
    """What a replay pickle holds as the state of a replay, where it comes from, and what is said of it."""
    pickled, replay = read_replay(path, block), getattr(module, REPLAY)
    state = pickled.state(replay.columns(replay.begin, replay.begin), _numbers(module))
    if pickled.action_space is not None:
        check_bounds(module, pickled.action_space, str(path), FIXES[block], block)
    notes = [f"{REPLAY}: from {path} ({pickled.kind})"]
    if not pickled.knows_timeouts:
        notes.append(
            f"{REPLAY}: saved without handle_timeout_termination, so that every episode there counts as ended for "
            "good, also where a time limit cut it off"
        )
    return state, str(path), notes


def take_replay_beside(module: RLModule, source: Source, given: str | None) -> Taken | None:
    """Give a module that goes on with an agent the replay pickle beside its zip; `None` where there is none.

    Args:
        module: with its environments and networks built.
        source: the agent.
        given: path of the pickle, where it is named.

    Raises:
        ConfigError: it does not fit.
        DataError: it is damaged.
    """
    path, _ = _pickle_of(source, given, "resume")
    if path is None:
        return None
    if not module.ranks.alone:
        raise ConfigError(
            f"resume.checkpoint: {path} is gone on with in one process only; set trainer.devices: 1, or move it away."
        )
    state, what, notes = _state_in(module, path, "resume")
    if state["n_envs"] != module.env_config.n_envs:
        raise ConfigError(
            f"env.n_envs: is {module.env_config.n_envs}, and the replay in {path} is of {state['n_envs']} "
            f"environments; set it to {state['n_envs']}, or move the pickle away."
        )
    return Taken([f"{REPLAY}: {module.take_part(REPLAY, state, what)}", *notes], [_digested(what)])


def _digested(path: str) -> dict[str, str]:
    """A file for the lineage."""
    return {"path": path, "sha256": digest_of(Path(path))}


def _numbers(module: RLModule) -> dict[str, int]:
    """How many values the columns of a replay have that are Discrete."""
    parts: dict[str, spaces.Space[Any]] = {"obs": module.observation_space, "action": module.action_space}
    if isinstance(module.observation_space, spaces.Dict):
        parts |= {f"obs/{key}": part for key, part in module.observation_space.spaces.items()}
    return {name: int(part.n) for name, part in parts.items() if isinstance(part, spaces.Discrete)}


def check_bounds(module: RLModule, theirs: spaces.Space[Any], what: str, fix: str, block: str = "warmstart") -> None:
    """Refuse another number of actions, and actions of other bounds, for they are stored as shares of them.

    Raises:
        ConfigError: they differ.
    """
    ours, key = module.action_space, "warmstart.load" if block == "warmstart" else "resume.replay"
    if describe(ours) != describe(theirs) and not isinstance(ours, spaces.Box):
        raise ConfigError(f"{key}: actions in {what} are {describe(theirs)}, and {describe(ours)} here; {fix}")
    if not (isinstance(ours, spaces.Box) and isinstance(theirs, spaces.Box)):
        return
    for which in ("low", "high"):
        mine, given = (np.asarray(getattr(space, which)).reshape(-1) for space in (ours, theirs))
        if mine.shape != given.shape:
            raise ConfigError(f"{key}: actions in {what} have {len(given)} bounds, and {len(mine)} here; {fix}")
        for i in np.flatnonzero(mine != given)[:1]:
            raise ConfigError(
                f"{key}: actions in {what} are stored as shares of their bounds, and {which}[{i}] is "
                f"{given[i]:.6g} there and {mine[i]:.6g} here; {fix}"
            )
