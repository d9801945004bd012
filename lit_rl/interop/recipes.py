"""A run.yaml for an environment: the RL Zoo's settings where it has some, or else what suits the spaces.

The Zoo's blocks lie in `hyperparams/`, one file an algorithm, and are translated as `import-zoo` translates them.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.algorithms import refuse_unavailable
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.images import is_image
from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.interop.replay_settings import has_replay
from lit_rl.interop.run_yaml import GAME, draft_run
from lit_rl.interop.settings import by_zoo_name, zoo_name
from lit_rl.interop.zoo import load_yaml, read_zoo

_BLOCKS = Path(__file__).parent / "hyperparams"
_DEFAULT, _ATARI = "default", "atari"
_GOAL = {"observation", "achieved_goal", "desired_goal"}
_FRAMES = 100_000
"""Transitions in a replay of images, which take thousands of bytes each."""


@dataclass(frozen=True)
class Recipe:
    """The content of a run.yaml and where it comes from.

    Args:
        config: as the YAML has it.
        notes: what to know of it, a line each.
    """

    config: dict[str, Any]
    notes: list[str]


def default_algorithm(observation: spaces.Space[Any], action: spaces.Space[Any], masks: bool = False) -> str:
    """SAC for Box actions with finite bounds and observations that are no images, and PPO for all else.

    Where the environment says which actions are allowed, PPO with masks.
    """
    if masks and fitting(action, masks).get("MaskablePPO", "not installed") is None:
        return "MaskablePPO"
    bounded = isinstance(action, spaces.Box) and bool(np.isfinite(action.low).all() and np.isfinite(action.high).all())
    return "SAC" if bounded and not _images(observation) else "PPO"


def policy_for(observation: spaces.Space[Any], algorithm: type[Any]) -> str:
    """The algorithm's policy, by name, that takes such observations."""
    kind = "MultiInput" if isinstance(observation, spaces.Dict) else "Cnn" if is_image(observation) else "Mlp"
    names: list[str] = [*algorithm.POLICIES]
    return next((name for name in names if name.startswith(kind)), names[0])


def fitting(action: spaces.Space[Any], masks: bool = False) -> dict[str, str | None]:
    """Every algorithm of the house, and why it is not for these actions, if it is not.

    Those that need masks are left out where the environment has none.
    """
    found: dict[str, str | None] = {}
    for cls in by_zoo_name().values():
        if cls.MASKS == "needed" and not masks:
            continue
        try:
            cls.check_actions(action)
            found[cls.__name__] = None
        except ConfigError as error:
            found[cls.__name__] = str(error)
    return found


def algorithm_named(name: str) -> type[Any]:
    """An algorithm of the house.

    Raises:
        ConfigError: there is none.
    """
    named = {cls.__name__: cls for cls in by_zoo_name().values()}
    if name not in named:
        refuse_unavailable(name, "--algorithm")
        raise ConfigError(
            f"--algorithm: there is no algorithm '{name}'; there are {', '.join(named)}.{did_you_mean(name, named)}"
        )
    return named[name]


def recipe(
    env: EnvConfig,
    observation: spaces.Space[Any],
    action: spaces.Space[Any],
    algorithm: str | None,
    masks: bool = False,
) -> Recipe:
    """A run.yaml for an environment.

    Args:
        env: its id or class.
        observation: its space, as networks see it.
        action: the same of its actions.
        algorithm: by name; `None` for what suits the spaces.
        masks: whether it says which actions are allowed.

    Raises:
        ConfigError: there is no such algorithm, or it is not for these actions.
    """
    cls = algorithm_named(algorithm or default_algorithm(observation, action, masks))
    cls.check_actions(action)
    zoo = zoo_name(cls.__name__)
    file = _BLOCKS / f"{zoo}.yml"
    known = load_yaml(file) if file.is_file() else {}
    block = None if env.id is None else _block(env.id, known)
    drafted = draft_run(zoo=read_zoo(file, block or _DEFAULT, zoo), env_id=env.name)
    config, notes = drafted.config, [f"Not carried over: {each.key}: {each.reason}" for each in drafted.not_carried]
    config["name"] = _run_name(env.name, cls.__name__)
    if env.class_path is not None:
        config["env"] = {"class_path": env.class_path, **{k: v for k, v in config["env"].items() if k != "id"}}
    if block is not None:
        return Recipe(config, [f"Settings of the RL Zoo for {_called(block)} ({cls.__name__}).", *notes])
    _suit(config, cls, observation)
    whose = (
        "The RL Zoo has no settings for this environment and algorithm: these suit its spaces, and nobody tuned them."
    )
    return Recipe(config, [whose, *notes])


def _block(env_id: str, known: dict[str, Any]) -> str | None:
    """The block of an environment, or of another version of it."""
    if env_id in known:
        return env_id
    if GAME.fullmatch(env_id):
        return _ATARI if _ATARI in known else None
    name, _, _ = env_id.rpartition("-v")
    return next((each for each in known if name and each.rpartition("-v")[0] == name), None)


def _called(block: str) -> str:
    return "Atari games" if block == _ATARI else block


def _suit(config: dict[str, Any], cls: type[Any], observation: spaces.Space[Any]) -> None:
    """What the Zoo says of no environment in particular, with what the spaces ask for."""
    env, model = config["env"], config["model"]["init_args"]
    replay, images = has_replay(cls), _images(observation)
    if "n_delta" in inspect.signature(cls).parameters:  # goes by whole episodes and their own returns
        env["n_envs"] = 2 * model["n_delta"]
        if _has_floats(observation):
            env["normalize"] = {"obs": True, "reward": False}
        return
    model["policy"] = policy_for(observation, cls)
    if replay:
        model["learning_starts"] = 10_000
        if images:
            model["buffer_size"] = _FRAMES
        if isinstance(observation, spaces.Dict) and set(observation.spaces) == _GOAL:
            model["her"] = True
        return
    env["n_envs"] = 8
    if _has_floats(observation):
        env["normalize"] = {"obs": True, "reward": True}


def _images(space: spaces.Space[Any]) -> bool:
    return any(is_image(part) for part in _parts(space))


def _has_floats(space: spaces.Space[Any]) -> bool:
    return any(isinstance(part, spaces.Box) and not is_image(part) for part in _parts(space))


def _parts(space: spaces.Space[Any]) -> list[spaces.Space[Any]]:
    return [*space.spaces.values()] if isinstance(space, spaces.Dict) else [space]


def _run_name(env: str, algorithm: str) -> str:
    """Such as `halfcheetah_sac`."""
    plain = re.sub(r"-v\d+$", "", re.split(r"[:/.]", env)[-1])
    return f"{re.sub(r'[^a-z0-9]+', '_', plain.lower()).strip('_') or 'run'}_{algorithm.lower()}"
