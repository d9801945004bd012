"""The spaces of a run in a checkpoint: as the run sees them, and the environment's own where they differ."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces

from lit_rl.envs.raw import OwnSpaces
from lit_rl.state.plain import to_plain
from lit_rl.state.space import space_from_plain, space_to_plain, storable

_KEYS = ("observation_space", "action_space")

Spaces = tuple[spaces.Space[Any], spaces.Space[Any]]


def stored_spaces(seen: Spaces, own: OwnSpaces | None) -> dict[str, Any]:
    """Observation and action space, and those of the environment itself: `None` where they are the same."""
    found = {key: to_plain(space_to_plain(space)) for key, space in zip(_KEYS, seen, strict=True)}
    for key, space, theirs in zip(_KEYS, seen, own or seen, strict=True):
        found[f"own_{key}"] = None if theirs == space else storable(theirs)
    return found


def spaces_in(stored: dict[str, Any]) -> tuple[Spaces, OwnSpaces]:
    """The inverse of `stored_spaces`; what an older checkpoint does not say of an environment is as the run sees it."""
    observation, action = (space_from_plain(stored[key]) for key in _KEYS)
    own = [stored.get(f"own_{key}") or stored[key] for key in _KEYS]
    return (observation, action), OwnSpaces(*map(space_from_plain, own))
