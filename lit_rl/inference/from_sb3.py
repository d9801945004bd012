"""An agent of stable-baselines3's from its zip, as text, numbers and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lit_rl.envs.raw import OwnSpaces
from lit_rl.envs.spaces import plain_action_space, plain_space
from lit_rl.errors import ConfigError, LitRLError
from lit_rl.inference.agent import Agent
from lit_rl.interop.run_yaml import draft_model, draft_normalize
from lit_rl.interop.sb3 import Agent as Sb3Agent
from lit_rl.interop.sb3 import read_agent
from lit_rl.interop.settings import by_zoo_name, refuse_unavailable
from lit_rl.interop.spaces import space_in
from lit_rl.interop.warmstart import moments_for
from lit_rl.run.config import WarmstartConfig
from lit_rl.run.weights import count_as, warmstart_from_agent
from lit_rl.training.module import RLModule


def agent_of_zip(path: Path, vecnormalize: str | Path | None = None, given: Mapping[str, Any] | None = None) -> Agent:
    """The agent in a zip, with the moments of its VecNormalize pickle.

    Args:
        path: of the zip.
        vecnormalize: the pickle, where it is not found by name.
        given: settings of our algorithm of that name in place of those in the zip, the environment among them.

    Raises:
        ConfigError: it is of an algorithm that there is not here, or lacks its moments.
        DataError: the zip is damaged.
    """
    read = read_agent(path)
    algorithm = by_zoo_name().get(read.algorithm)
    if algorithm is None:
        refuse_unavailable(read.algorithm, f"load: {path}")
        raise ConfigError(
            f"load: {path} holds an agent of {read.algorithm}, and there are {', '.join(by_zoo_name())} here; use "
            "stable-baselines3 itself for it."
        )
    try:
        return Agent(_module_of(read, algorithm, vecnormalize, given or {}), path)
    except ConfigError as error:
        said = str(error).removeprefix("warmstart.").removeprefix("warmstart: ")
        raise ConfigError(f"load: {said if str(path) in said else f'{path}: {said}'}") from None


def _module_of(
    read: Sb3Agent, algorithm: type[Any], vecnormalize: str | Path | None, given: Mapping[str, Any]
) -> RLModule:
    own = OwnSpaces(space_in(read, "observation_space"), space_in(read, "action_space"))
    stats, pickle = moments_for(read, vecnormalize)
    env = {**given.get("env", {}), "n_envs": 1, "normalize": draft_normalize(stats) or {}}
    settings = draft_model(read, algorithm) | {key: value for key, value in given.items() if key != "env"}
    if "buffer_size" in settings or read.algorithm in ("dqn", "sac", "td3", "ddpg"):
        settings |= {"buffer_size": 1, "her": False, "prioritized_replay": False}
    try:
        module: RLModule = algorithm(env=env, **settings)
        module.play.spaces = plain_space(own.observation), plain_action_space(own.action)
        module.play.own_spaces = own
        module.build_networks()
        warmstart_from_agent(module, read, WarmstartConfig(vecnormalize=None if pickle is None else str(pickle)))
    except LitRLError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        raise ConfigError(f"{read.path}: its settings make no policy here ({said}).") from None
    count_as(module, read)
    return module.train(False)
