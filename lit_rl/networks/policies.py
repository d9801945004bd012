"""stable-baselines3's policies by name, made with errors of one line."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from lit_rl.envs.build import import_class
from lit_rl.errors import ConfigError, did_you_mean

P = TypeVar("P", bound=BasePolicy)

_KINDS: dict[str, type] = {
    "activation_fn": nn.Module,
    "features_extractor_class": BaseFeaturesExtractor,
    "optimizer_class": torch.optim.Optimizer,
}
"""What the class behind a key must be below."""


def policy_class(policy: str | type[P], known: Mapping[str, type[P]]) -> type[P]:
    """The class that `model.policy` names: one of `known`, or by import path a subclass of the first of them.

    Raises:
        ConfigError: there is none.
    """
    base = next(iter(known.values()))
    if isinstance(policy, str):
        if policy in known:
            return known[policy]
        if "." not in policy and ":" not in policy:
            raise ConfigError(
                f"model.policy: '{policy}' is not one of {', '.join(known)}.{did_you_mean(policy, known)}"
            )
        policy = import_class(policy, "model.policy")
    if not (isinstance(policy, type) and issubclass(policy, base)):
        raise ConfigError(f"model.policy: {policy} is not a subclass of stable-baselines3's {base.__name__}.")
    return policy


def make_policy(cls: type[P], *args: Any, policy_kwargs: dict[str, Any], **kwargs: Any) -> P:
    """``cls(*args, **kwargs, **policy_kwargs)``, without the optimizer it brings: the Trainer keeps ours.

    Raises:
        ConfigError: `policy_kwargs` has a key that no policy takes, or the policy refuses the spaces.
    """
    try:
        policy = cls(*args, **kwargs, **policy_kwargs)
    except (TypeError, AssertionError) as error:
        known = [name for each in cls.__mro__ if issubclass(each, BasePolicy) for name in _parameters(each)]
        wrong = next((key for key in policy_kwargs if key not in known), None)
        if wrong is not None and "argument" in str(error):
            raise ConfigError(f"model.policy_kwargs: unknown key '{wrong}'.{did_you_mean(wrong, known)}") from None
        if isinstance(error, AssertionError) and str(error):
            raise ConfigError(f"model.policy: {' '.join(str(error).split())}") from None
        raise
    del policy.optimizer
    return policy


def _parameters(cls: type) -> list[str]:
    return list(inspect.signature(cls.__init__).parameters)  # type: ignore[misc]


def resolve_policy_kwargs(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """`policy_kwargs` with classes in place of their names.

    ``activation_fn`` and every key that ends in ``_class`` may be a dotted path (`torch.nn.ReLU`), or the bare name of
    a class in `torch.nn` (`ReLU`).
    """
    resolved = dict(kwargs or {})
    for key, value in resolved.items():
        if names_class(key) and isinstance(value, str):
            name = value.removeprefix("nn.").removeprefix("th.nn.")
            if "." not in name and hasattr(nn, name):
                resolved[key] = getattr(nn, name)
            else:
                resolved[key] = import_class(value, f"model.policy_kwargs.{key}")
            base = _KINDS.get(key, object)
            if not (isinstance(resolved[key], type) and issubclass(resolved[key], base)):
                raise ConfigError(f"model.policy_kwargs.{key}: {value} is not a class below {base.__name__}.")
    return resolved


def names_class(key: str) -> bool:
    """Whether the value of a key in `policy_kwargs` is a class."""
    return key == "activation_fn" or key.endswith("_class")


def make_optimizer(policy: Any, learning_rate: float) -> torch.optim.Optimizer:
    """The optimizer that a policy's `optimizer_class` and `optimizer_kwargs` ask for, fused where it can be."""
    kwargs = dict(policy.optimizer_kwargs)
    if "fused" in inspect.signature(policy.optimizer_class).parameters and "foreach" not in kwargs:
        kwargs.setdefault("fused", True)
    optimizer: torch.optim.Optimizer = policy.optimizer_class(policy.parameters(), lr=learning_rate, **kwargs)
    return optimizer
