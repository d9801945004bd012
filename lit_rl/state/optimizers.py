"""Taking an optimizer's state over into one of another class or with other arguments, as far as it fits."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.optim import Optimizer


def name_of(optimizer: Optimizer) -> str:
    """An optimizer's class, as a checkpoint remembers it."""
    cls = getattr(optimizer, "stands_for", type(optimizer))
    return f"{cls.__module__}.{cls.__qualname__}"


def carried(state: dict[str, Any], was: str | None, optimizer: Optimizer) -> tuple[dict[str, Any], str | None]:
    """What of a state goes on in an optimizer that is not quite the one it is of.

    Moments are carried where the class is the same and they are all that it needs; its arguments are its own. Otherwise
    they begin anew.

    Args:
        state: of the optimizer that was, from its `state_dict`.
        was: its class; `None` where that was not written down, and the arguments have to tell.
        optimizer: that goes on; it has taken no step.

    Returns:
        the state for it, and what is to be said; `None` where it is the same optimizer.
    """
    if "param_groups" not in state:  # Lightning's stand-in, where an algorithm has no optimizer
        return state, None
    old, own = state["param_groups"], optimizer.state_dict()
    new = own["param_groups"]
    if [len(group["params"]) for group in old] != [len(group["params"]) for group in new]:
        return own, "optimizer: it has other parameters, and its moments begin anew"
    same_class = was == name_of(optimizer) if was is not None else _names(old) == _names(new)
    if not same_class:
        before = "another" if was is None else was.rpartition(".")[2]
        return (
            own,
            f"optimizer: {type(optimizer).__name__} in the place of {before}; its moments begin anew",
        )
    changed = sorted({key for a, b in zip(old, new, strict=True) for key in b if _differs(a.get(key), b[key], key)})
    if not changed:
        return state, None
    held = {key for each in state["state"].values() for key in each}
    if state["state"] and not needs(optimizer) <= held:
        return own, f"optimizer: another {', '.join(changed)}, which needs moments that are not there; they begin anew"
    return {**own, "state": state["state"]}, f"optimizer: another {', '.join(changed)}; its moments are carried"


def _names(groups: list[dict[str, Any]]) -> list[set[str]]:
    return [set(group) - {"params", "initial_lr"} for group in groups]


def _differs(old: Any, new: Any, key: str) -> bool:
    if key in ("lr", "initial_lr", "params", "fused", "foreach", "capturable"):  # how, not what; the schedule sets lr
        return False
    old, new = (list(value) if isinstance(value, list | tuple) else value for value in (old, new))
    return bool(old != new)


def needs(optimizer: Optimizer) -> set[str]:
    """What an optimizer keeps for a parameter after a step, found with one of its own kind."""
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    settings = {key: value for key, value in optimizer.param_groups[0].items() if key not in ("params", "initial_lr")}
    other = copy.copy(optimizer)
    other.state, other.param_groups = type(optimizer.state)(dict), [{**settings, "params": [parameter]}]
    parameter.grad = torch.zeros(2, 2)
    other.step()
    return {key for key, value in other.state[parameter].items() if value is not None}
