"""stable-baselines3's policies by name, made with errors of one line."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch.optim import Optimizer

from lit_rl.envs.build import import_class
from lit_rl.errors import ConfigError, raised
from lit_rl.networks.names import check_policy_name
from lit_rl.ops.limits import called

P = TypeVar("P", bound=BasePolicy)

KEY = "model.policy_kwargs"


def policy_class(policy: str | type[P], known: Mapping[str, type[P]]) -> type[P]:
    """The class that `model.policy` names: one of `known`, or by import path a subclass of the first of them.

    Raises:
        ConfigError: there is none.
    """
    base = next(iter(known.values()))
    if isinstance(policy, str):
        if policy in known:
            return known[policy]
        check_policy_name(policy, known)
        policy = import_class(policy, "model.policy")
    if not (isinstance(policy, type) and issubclass(policy, base)):
        raise ConfigError(f"model.policy: {policy} is not a subclass of stable-baselines3's {base.__name__}.")
    return policy


def check_observations(
    policy: type[Any], known: Mapping[str, type[Any]], space: spaces.Space[Any], extractor: Any = None
) -> None:
    """Refuse observations that a policy is not for.

    Args:
        policy: the class.
        known: the algorithm's by name, among them one for dictionaries.
        space: of observations.
        extractor: a features extractor in place of the policy's own, which may be for anything.

    Raises:
        ConfigError: says which policy they need.
    """
    of_dicts = next((name for name in known if name.startswith("MultiInput")), None)
    takes_dicts = of_dicts is not None and issubclass(policy, known[of_dicts])
    if isinstance(space, spaces.Dict) and not takes_dicts:
        need = f"need {of_dicts}" if of_dicts else f"are for no policy of this algorithm ({', '.join(known)})"
        raise ConfigError(f"model.policy: Dict observations {need}.")
    if takes_dicts and not isinstance(space, spaces.Dict) and not extractor:
        others = [f"{name}{' for images' * name.startswith('Cnn')}" for name in known if name != of_dicts]
        raise ConfigError(
            f"model.policy: {of_dicts} is for Dict observations; this environment has {space}; use "
            f"{', or '.join(others)}."
        )


def make_policy(cls: type[P], *args: Any, policy_kwargs: dict[str, Any], **kwargs: Any) -> P:
    """``cls(*args, **kwargs, **policy_kwargs)``, without the optimizer it brings: the Trainer keeps ours.

    Raises:
        ConfigError: the policy, its extractor or its optimizer cannot be made; names the setting and the cause.
    """
    try:
        policy = cls(*args, **kwargs, **policy_kwargs)
    except ConfigError:
        raise
    except Exception as error:
        if isinstance(error, AssertionError) and str(error) and not policy_kwargs:
            raise ConfigError(f"model.policy: {' '.join(str(error).split())}") from None
        raise ConfigError(f"{_culprit(error, policy_kwargs)} raised {raised(error)}.") from None
    for network in policy.modules():
        vars(network).pop("optimizer", None)
    _try_optimizer(policy)
    return policy


def _culprit(error: Exception, policy_kwargs: dict[str, Any]) -> str:
    """The setting and the class in whose code an error was raised."""
    trace, owners = error.__traceback__, list[Any]()
    while trace is not None:
        owners.append(trace.tb_frame.f_locals.get("self"))
        trace = trace.tb_next
    for key, base in (("optimizer_class", Optimizer), ("features_extractor_class", BaseFeaturesExtractor)):
        owner = next((owner for owner in owners if isinstance(owner, base)), None)
        if owner is not None:
            arguments = f"{key.removesuffix('_class')}_kwargs"
            given = policy_kwargs.get(arguments) or {}
            where = f"{KEY}.{key}" if key in policy_kwargs or arguments in policy_kwargs else "model.policy"
            return f"{where}: {called(type(owner).__name__, given)}"
    policy = next((type(owner) for owner in owners if isinstance(owner, BasePolicy)), BasePolicy)
    return f"{KEY if policy_kwargs else 'model.policy'}: {called(policy.__name__, policy_kwargs)}"


def make_optimizer(
    policy: Any, learning_rate: float, parameters: Iterable[torch.Tensor] | None = None
) -> torch.optim.Optimizer:
    """The optimizer that a policy's `optimizer_class` and `optimizer_kwargs` ask for, fused where it can be.

    Args:
        policy: whose settings they are.
        learning_rate: at the start.
        parameters: what it moves; by default all of the policy's.
    """
    kwargs = dict(policy.optimizer_kwargs)
    if "fused" in inspect.signature(policy.optimizer_class).parameters and not {"foreach", "differentiable"} & {
        *kwargs
    }:
        kwargs.setdefault("fused", True)
    parameters = policy.parameters() if parameters is None else parameters
    optimizer: torch.optim.Optimizer = policy.optimizer_class(parameters, lr=learning_rate, **kwargs)
    return optimizer


def _try_optimizer(policy: Any) -> None:
    """Take a step with copies of the parameters and no gradient: some optimizers cannot take one as it is taken here.

    Raises:
        ConfigError: names the optimizer.
    """
    key, name = f"{KEY}.optimizer_class", policy.optimizer_class.__name__
    closure = inspect.signature(policy.optimizer_class.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ConfigError(
            f"{key}: {name} needs a closure, with which it works the loss out several times in a step; updates here "
            "work it out once. Use one such as torch.optim.Adam."
        )
    copies = [parameter.detach().clone().requires_grad_() for parameter in policy.parameters()]
    for copy in copies:
        copy.grad = torch.zeros_like(copy)
    try:
        make_optimizer(policy, 1e-3, copies).step()
    except Exception as error:
        name = called(name, policy.optimizer_kwargs)
        raise ConfigError(f"{key}: {name} raised {raised(error)}.") from None
