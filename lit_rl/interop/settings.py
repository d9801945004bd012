"""Which settings an algorithm shares with stable-baselines3's of the same name, and of what kind, by its signature.

Algorithms are imported when they are asked for: reading other people's files needs none of them.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Collection, Mapping
from typing import Any, Literal

Kind = Literal["schedule", "number", "whole", "flag", "coefficient", "frequency", "word"]
_KINDS: dict[str, Kind] = {
    "ScheduleLike": "schedule",
    "float": "number",
    "int": "whole",
    "bool": "flag",
    "float | str": "coefficient",
    "float | Literal['auto']": "coefficient",
    "TrainFreq": "frequency",
    "NoiseType": "word",
}
_ZOO_NAMES = {"RecurrentPPO": "ppo_lstm"}
"""Where they are not our own in small letters."""
_ZOO_ALONE = frozenset({"noise_type", "noise_std"})
"""What the RL Zoo makes an object of stable-baselines3 of."""
_ELSEWHERE = frozenset({"env", "policy", "policy_kwargs", "seed"})
"""What run.yaml and the files say in another place."""


def by_zoo_name() -> dict[str, type[Any]]:
    """Our algorithms by the names that the RL Zoo gives them (`ppo`)."""
    from lit_rl.algorithms import algorithms

    return {zoo_name(name): cls for name, cls in sorted(algorithms().items())}


def zoo_name(algorithm: str) -> str:
    """What the RL Zoo calls one of our algorithms, or would."""
    return _ZOO_NAMES.get(algorithm, algorithm.lower())


def own_name(zoo: str) -> str:
    """What we call an algorithm of the RL Zoo's; another name is left as it is."""
    return next((own for own, name in _ZOO_NAMES.items() if name == zoo), zoo)


def refuse_unavailable(zoo: str, key: str) -> None:
    """Say in one line that an algorithm, by the Zoo's name, needs a package that is not installed; see `algorithms`."""
    from lit_rl.algorithms import refuse_unavailable as refuse

    refuse(own_name(zoo), key)


def sb3_class(algorithm: type[Any]) -> Any:
    """Stable-baselines3's algorithm, or sb3-contrib's, of the same name as ours or as what ours derives from."""
    import stable_baselines3

    there = [stable_baselines3]
    if importlib.util.find_spec("sb3_contrib") is not None:
        there.append(importlib.import_module("sb3_contrib"))
    theirs = (getattr(package, cls.__name__, None) for cls in algorithm.__mro__ for package in there)
    return next(cls for cls in theirs if isinstance(cls, type))


def kinds(algorithm: type[Any]) -> dict[str, Kind]:
    """The kind of every setting that stable-baselines3 has under the same name."""
    return _kinds(algorithm, inspect.signature(sb3_class(algorithm).__init__).parameters.keys() - _ELSEWHERE)


def zoo_kinds(algorithm: type[Any]) -> dict[str, Kind]:
    """The same, and that of every setting that the RL Zoo alone has under the same name."""
    return kinds(algorithm) | _kinds(algorithm, _ZOO_ALONE)


def _kinds(algorithm: type[Any], names: Collection[str]) -> dict[str, Kind]:
    own = inspect.signature(algorithm).parameters
    read = {name: _KINDS.get(str(own[name].annotation).removesuffix(" | None")) for name in own if name in names}
    return {name: kind for name, kind in read.items() if kind is not None}


def with_episodes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of stable-baselines3 before 1.0 as those of today: `n_episodes_rollout` where `train_freq` is -1."""
    found = dict(settings)
    episodes = found.get("n_episodes_rollout")
    if type(episodes) is int and "train_freq" in found:
        del found["n_episodes_rollout"]
        if episodes > 0 and found["train_freq"] == -1:
            found["train_freq"] = [episodes, "episode"]
    return found
