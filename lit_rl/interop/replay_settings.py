"""How stable-baselines3 and the RL Zoo say what an algorithm's replay is, and what of it is a setting here."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

KEYS = frozenset({"replay_buffer_class", "replay_buffer_kwargs", "optimize_memory_usage"})
"""Settings of an algorithm that are about its replay."""
HER = "HerReplayBuffer"
_OWN = re.compile(r"(stable_baselines3\.(?:\w+\.)*)?(ReplayBuffer|DictReplayBuffer|NStepReplayBuffer|HerReplayBuffer)")
_LEFT_OUT = {
    "optimize_memory_usage": "a replay here stores each observation once in any case, and keeps the last of an episode",
    "handle_timeout_termination": "what a time limit cuts off bootstraps here, and what ended by itself does not",
    "copy_info_dict": "compute_reward is given empty infos here",
    "online_sampling": "goals are always sampled with the batch, as in stable-baselines3 since 1.8",
    "max_episode_length": "is not needed, as in stable-baselines3 since 1.8",
    "gamma": "is model.gamma",
}
"""Arguments that are none here, and why."""
_AS_HERE = {
    "optimize_memory_usage": False,
    "handle_timeout_termination": True,
    "copy_info_dict": False,
    "online_sampling": True,
}
"""Values with which nothing is left out that a file of SB3's own says without being asked."""


@dataclass
class ReplaySettings:
    """What they come to here.

    Args:
        carried: settings of `model`: `her`, `n_steps`.
        left_out: what is none here, and why.
    """

    carried: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def has_replay(algorithm: type[Any]) -> bool:
    """Whether an algorithm of ours has these settings."""
    return "her" in inspect.signature(algorithm).parameters


def _strategies() -> tuple[str, ...]:
    """Values of `model.her.goal_selection_strategy`."""
    from lit_rl.data.config import HindsightReplay  # reading other people's files needs none of what this imports

    return get_args(get_type_hints(HindsightReplay)["goal_selection_strategy"])


def replay_settings(
    buffer: str | None, kwargs: Mapping[str, Any], optimize: bool | None, asked: bool = True
) -> ReplaySettings:
    """Sort the settings of a replay.

    Args:
        buffer: name of its class.
        kwargs: its arguments.
        optimize: `optimize_memory_usage`.
        asked: whether somebody wrote these values down; else what is as it is here is not mentioned.
    """
    found = ReplaySettings()
    name = _OWN.fullmatch(buffer or "ReplayBuffer")
    if name is None:
        found.left_out["replay_buffer_class"] = f"{str(buffer)[:80]} is no replay buffer of stable-baselines3"
        if kwargs:
            found.left_out["replay_buffer_kwargs"] = f"{str(dict(kwargs))[:80]} are arguments of the class left out"
        return found
    given = dict(kwargs) | ({} if optimize is None else {"optimize_memory_usage": optimize})
    hindsight = name[2] == HER
    her: dict[str, Any] = {}
    for key, value in given.items():
        where = key if key == "optimize_memory_usage" else f"replay_buffer_kwargs.{key}"
        if hindsight and key in ("n_sampled_goal", "goal_selection_strategy"):
            value = value.lower() if isinstance(value, str) else value
            good = value in _strategies() if key == "goal_selection_strategy" else type(value) is int and value >= 1
            if good:
                her[key] = value
            else:
                found.left_out[where] = f"{str(value)[:60]!r} is none that model.her.{key} takes"
        elif key == "n_steps" and name[2] == "NStepReplayBuffer" and type(value) is int and value >= 1:
            found.carried["n_steps"] = value
        elif key not in _LEFT_OUT:
            found.left_out[where] = f"a replay here has no such setting (its value was {str(value)[:60]!r})"
        elif asked or (key in _AS_HERE and value != _AS_HERE[key]):
            found.left_out[where] = f"{_LEFT_OUT[key]} (its value was {str(value)[:60]!r})"
    if hindsight:
        found.carried["her"] = her or True
    return found
