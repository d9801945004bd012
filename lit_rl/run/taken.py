"""What a warm start takes over beside weights and moments: parts of a rank's state, such as a replay."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.checkpoint.reader import load_rank
from lit_rl.errors import ConfigError
from lit_rl.run.config import WarmstartConfig
from lit_rl.run.sources import Source
from lit_rl.state.parts import union
from lit_rl.state.space import space_from_plain
from lit_rl.training.module import RLModule


def take_parts(module: RLModule, source: Source, config: WarmstartConfig) -> list[str]:
    """Give a fresh module the parts in `warmstart.load` that its class names in `TAKES`; returns what to say of each.

    Args:
        module: with its environments and networks built.
        source: the trained run.
        config: with the parts.

    Raises:
        ConfigError: there is no such part, or it does not fit.
        DataError: it is damaged.
    """
    said = []
    for part in union(type(module), "TAKES"):
        if part in config.load:
            state = _state(module, source, part)
            said.append(f"{part}: {module.take_part(part, state, str(source.path))}")
        elif source.checkpoint is not None and any(f.startswith(f"{part}_") for f in source.checkpoint.manifest.files):
            said.append(f"{part}: not loaded (not in warmstart.load)")
    return said


def _state(module: RLModule, source: Source, part: str) -> dict[str, Any]:
    """A part of a trained run's state."""
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
    return state


def check_bounds(module: RLModule, theirs: spaces.Space[Any], what: str, fix: str) -> None:
    """Refuse actions of other bounds, for they are stored as shares of them.

    Raises:
        ConfigError: the bounds differ.
    """
    ours = module.action_space
    if not (isinstance(ours, spaces.Box) and isinstance(theirs, spaces.Box)):
        return
    for which in ("low", "high"):
        mine, given = (np.asarray(getattr(space, which)).reshape(-1) for space in (ours, theirs))
        other = np.flatnonzero(mine != given)
        if len(other):
            i = int(other[0])
            raise ConfigError(
                f"warmstart.load: actions in {what} are stored as shares of their bounds, and {which}[{i}] is "
                f"{given[i]:.6g} there and {mine[i]:.6g} here; {fix}"
            )
