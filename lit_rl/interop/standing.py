"""Where the training of a stable-baselines3 agent stands: what its zip says beside weights and settings."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lit_rl.data.episode import Episode
from lit_rl.errors import DataError
from lit_rl.interop.sb3 import Agent
from lit_rl.state.optimizers import needs
from lit_rl.untrusted.arrays import ARRAYS, array_of
from lit_rl.untrusted.pickles import parse

_DEQUE = frozenset({"collections.deque", "collections.OrderedDict", *ARRAYS})
_ACTOR_AND_CRITIC = (("actor.optimizer.pth", "actor."), ("critic.optimizer.pth", "critic."))
TEMPERATURE = "log_ent_coef"
OPTIMIZERS: dict[str, tuple[tuple[str, str], ...]] = {
    **dict.fromkeys(("ppo", "a2c", "trpo", "ppo_lstm", "maskableppo"), (("policy.optimizer.pth", ""),)),
    "dqn": (("policy.optimizer.pth", "q_net."),),
    "qrdqn": (("policy.optimizer.pth", "quantile_net."),),
    **dict.fromkeys(("sac", "tqc", "crossq"), (*_ACTOR_AND_CRITIC, ("ent_coef_optimizer.pth", TEMPERATURE))),
    "td3": _ACTOR_AND_CRITIC,
    "ddpg": _ACTOR_AND_CRITIC,
    "ars": (),
}
"""By algorithm, in the order of ours: the member of the zip that holds an optimizer's state, and how the names of the
tensors begin that it steps."""
_COMPARED = ("betas", "eps", "weight_decay", "amsgrad", "alpha", "momentum", "centered", "nesterov", "dampening")


@dataclass(frozen=True)
class Standing:
    """How far training has come.

    Args:
        timesteps: steps of single environments.
        target: the timesteps that `learn` was told, counted from the run's start; `None` where it does not say.
        updates: what SB3 logs as `train/n_updates`.
        steps: of all environments together.
        counted: those of them that DQN has counted for its target; CheckpointCallback comes before the newest is.
        episodes: that have ended, as far as SB3 counts them (off-policy).
        window: the last of them, oldest first, which `rollout/ep_rew_mean` is the mean of.
    """

    timesteps: int
    target: int | None
    updates: int
    steps: int
    counted: int
    episodes: int
    window: list[Episode]


def standing_of(agent: Agent) -> Standing:
    """Read it from an agent.

    Raises:
        DataError: it does not say how long it was trained.
    """
    said = agent.settings
    timesteps = _count(said.get("num_timesteps"))
    if timesteps is None:
        raise DataError(f"{agent.path}: num_timesteps is missing: it does not say how long it was trained.")
    steps = timesteps // (_count(said.get("n_envs")) or 1)
    calls = _count(said.get("_n_calls"))
    counted = steps if calls is None else calls
    if steps - counted not in (0, 1):
        steps = counted
    return Standing(
        timesteps,
        _count(said.get("_total_timesteps")) or None,
        _count(said.get("_n_updates")) or 0,
        steps,
        counted,
        _count(said.get("_episode_num")) or 0,
        _window(agent),
    )


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _window(agent: Agent) -> list[Episode]:
    """Of `ep_info_buffer`; empty where it is in a form that is not read."""
    try:
        infos = _values(agent, "ep_info_buffer")
        successes: list[Any] = _values(agent, "ep_success_buffer")
        known = len(successes) == len(infos)
        return [
            Episode(
                0,
                float(array_of(info["r"], "r")),
                int(array_of(info["l"], "l")),
                bool(successes[i] if isinstance(successes[i], bool) else array_of(successes[i], "success"))
                if known
                else None,
            )
            for i, info in enumerate(infos)
        ]
    except (DataError, KeyError, TypeError, ValueError, binascii.Error):
        return []


def _values(agent: Agent, key: str) -> list[Any]:
    text = agent.pickled_episodes.get(key)
    if text is None:
        return []
    stream = io.BytesIO(base64.b64decode(text, validate=True))
    found = parse(stream, _DEQUE, f"{agent.path}: {key}").value
    return found if isinstance(found, list) else []


@dataclass(frozen=True)
class OptimizerState:
    """What an optimizer of stable-baselines3's has kept.

    Args:
        member: of the zip.
        prefix: how the names of the tensors begin that it steps.
        settings: of its only group of parameters.
        by_tensor: the state of each parameter, by the tensor's name in `policy.pth`.
        of_critic: whether it has taken steps with the critic alone.
    """

    member: str
    prefix: str
    settings: dict[str, Any]
    by_tensor: dict[str, dict[str, Any]]
    of_critic: bool = False


def optimizer_states(agent: Agent, own: Sequence[str]) -> list[OptimizerState | None]:
    """The states of an agent's optimizers in our order; `None` for one that is not in the zip.

    Args:
        agent: of which.
        own: names of the parameters of our policy of the same kind: what else is in the file is no parameter.

    Raises:
        DataError: a state is not one of these parameters.
    """
    known = set(own)
    names = [name for name in agent.policy if name in known]
    found: list[OptimizerState | None] = []
    for member, prefix in OPTIMIZERS[agent.algorithm]:
        state = agent.policy_optimizer if member == "policy.optimizer.pth" else agent.tensors.get(member)
        found.append(None if state is None else _read(agent, member, prefix, state, names))
    return found


def _read(agent: Agent, member: str, prefix: str, state: Any, names: Sequence[str]) -> OptimizerState:
    where = f"{agent.path}: member {member!r}"
    try:
        (group,) = state["param_groups"]
        count, states = len(group["params"]), state["state"]
        order = stepped(names, prefix, count)
        by_tensor = {order[i]: dict(states[key]) for i, key in enumerate(group["params"]) if key in states}
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{where}: is not the state of an optimizer of this policy ({error}).") from None
    for name, kept in by_tensor.items():
        for key, value in kept.items():
            shaped = isinstance(value, Tensor) and value.dim() > 0
            if shaped and name in agent.policy and value.shape != agent.policy[name].shape:
                raise DataError(
                    f"{where}: {key} of '{name}' has shape {tuple(value.shape)}, and the tensor "
                    f"{tuple(agent.policy[name].shape)}."
                )
            if shaped and not bool(torch.isfinite(value).all()):
                raise DataError(f"{where}: {key} of '{name}' is not finite.")
    settings = {k: v for k, v in group.items() if k != "params"}
    return OptimizerState(member, prefix, settings, by_tensor, agent.algorithm == "trpo")


def stepped(names: Sequence[str], prefix: str, count: int) -> list[str]:
    """Those of a policy's parameters that an optimizer of so many of them steps, in order.

    Raises:
        ValueError: no part of them is that many.
    """
    if prefix == TEMPERATURE and count == 1:
        return [TEMPERATURE]
    part = [name for name in names if name.startswith(prefix)]
    own = [name for name in part if "features_extractor" not in name]  # which is the actor's to train
    for each in (part, own, list(names)):  # before SB3 1.2, DQN's had the target network too
        if len(each) == count:
            return each
    raise ValueError(f"it has {count} parameters, and the policy {len(part)}")


def take_over(optimizer: Optimizer, own: Sequence[str], state: OptimizerState) -> list[str]:
    """Let an optimizer that has taken no step go on where another one was; returns what is to be said.

    Args:
        optimizer: ours; its settings are its own.
        own: names of the parameters of our policy.
        state: of the other.
    """
    mine = optimizer.state_dict()
    (group,) = mine["param_groups"]
    names = stepped(own, state.prefix, len(group["params"]))
    kept = [state.by_tensor.get(name) for name in names]
    if not any(kept):
        return [f"{state.member}: holds nothing yet"]
    if not all(state.of_critic if each is None else needs(optimizer) <= each.keys() for each in kept):
        return [f"WARNING: {state.member} lacks what {type(optimizer).__name__} needs; its moments begin anew"]
    states = {i: _with_tensors(each) for i, each in zip(group["params"], kept, strict=True) if each is not None}
    optimizer.load_state_dict({**mine, "state": states})
    differ = [key for key in _COMPARED if key in state.settings and key in group]
    return [f"{state.member}: {len(states)} moments loaded"] + [
        f"{state.member}: {key}: the agent was trained with {state.settings[key]}, the run is set to {group[key]}"
        for key in differ
        if _plain(state.settings[key]) != _plain(group[key])
    ]


def _with_tensors(state: dict[str, Any]) -> dict[str, Any]:
    """Its counts of steps as tensors, which torch once kept as numbers."""
    count = state.get("step")
    return state if isinstance(count, Tensor) or count is None else state | {"step": torch.tensor(float(count))}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
