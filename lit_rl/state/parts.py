"""The parts of a run's state: each is named on the class that owns it, and the run's list is their union.

In Lightning's own dictionary (`lightning.ckpt`) lie the module's tensors (`state_dict`), optimizers, learning rate
schedulers and loops. In ours beside it lie the parts of a run that are equal on all ranks, and in a file of each rank
those that are its own. A part that is missing is a resume bug.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, Protocol, runtime_checkable

from lit_rl.errors import DataError, NotFinite
from lit_rl.state.plain import first_not_finite, to_plain
from lit_rl.state.stored import joined


@runtime_checkable
class Stateful(Protocol):
    """A part of a run's state."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Take a state from `state_dict` over."""


@dataclass(frozen=True)
class Part:
    """A part of a run's state, as a class names it in its `PARTS`.

    Args:
        holds: what it is, for people.
        of: `run` for what is equal on all ranks, `rank` for what each rank has of its own.
        attribute: where it is on the object, with dots; `None` under its own name. What is `None` there, such as the
            curriculum of a run without one, has an empty state.
    """

    holds: str
    of: Literal["run", "rank"] = "run"
    attribute: str | None = None


def union(cls: type, name: str) -> dict[Any, Any]:
    """What a class and those it derives from say in their mappings `name`, the base's first."""
    found: dict[Any, Any] = {}
    for each in reversed(cls.__mro__):
        found |= vars(each).get(name, {})
    return found


def parts_of(owner: Any, of: Literal["run", "rank"]) -> dict[str, Stateful | None]:
    """The objects behind the parts that an object's classes name, in their order; global random streams last.

    Nothing may draw after those have been put back.
    """
    named: dict[str, Part] = union(type(owner), "PARTS")
    found = {n: attrgetter(part.attribute or n)(owner) for n, part in named.items() if part.of == of}
    return {**{name: part for name, part in found.items() if name != "streams"}, **found}


def state_of(part: Stateful | None) -> dict[str, Any]:
    """Its state; empty for one that is not there."""
    return {} if part is None else part.state_dict()


def capture(parts: Mapping[str, Stateful | None]) -> dict[str, Any]:
    """The state of every part, as tensors and plain values.

    Raises:
        TypeError: a part holds something that a checkpoint must not.
    """
    return {name: to_plain(state_of(part), f"[{name!r}]") for name, part in parts.items()}


def restore(parts: Mapping[str, Stateful | None], state: Mapping[str, Any]) -> None:
    """Load every part, in order. One that was empty when it was saved is left as it is.

    Raises:
        DataError: one is missing from the state.
    """
    missing = sorted(name for name in parts.keys() - state.keys() if parts[name] is not None)
    if missing:
        raise DataError(f"the checkpoint has no part '{missing[0]}': it was written by an earlier version of lit_rl.")
    for name, part in parts.items():
        if part is not None and state[name]:
            part.load_state_dict(state[name])


def check_finite(lightning: dict[str, Any]) -> None:
    """Look at weights, moments and optimizer tensors of Lightning's dictionary.

    Raises:
        NotFinite: one holds NaN or infinity; names it.
    """
    place = first_not_finite(lightning.get("state_dict", {})) or first_not_finite(
        lightning.get("optimizer_states", []), "optimizer"
    )
    if place:
        raise NotFinite(
            f"{place} is not finite, so training has gone wrong. Lower the learning rate, or look at rewards and "
            "observations."
        )


def by_part(lightning: dict[str, Any], ranks: list[dict[str, Any]]) -> dict[str, Any]:
    """A checkpoint's content by part, for comparing and for `show`.

    What differs from process to process by its nature is left out: time spent and positions in log files. Networks are
    listed by the module's attribute that holds them, one part each.
    """
    parts: dict[str, Any] = {}
    for key, value in lightning["state_dict"].items():
        parts.setdefault(_network(key), {})[key] = value
    parts = {"policy": {}, "obs_moments": {}, "reward_moments": {}, **parts}
    parts["optimizer"] = lightning.get("optimizer_states", [])
    parts["lr_schedule"] = lightning.get("lr_schedulers", [])
    if "MixedPrecision" in lightning:
        parts["precision"] = lightning["MixedPrecision"]
    callbacks = lightning.get("callbacks", {})  # a ModelCheckpoint's is where its files lie
    if callbacks := {key: state for key, state in callbacks.items() if not key.startswith("ModelCheckpoint")}:
        parts["callbacks"] = callbacks
    parts |= {name: part for name, part in lightning["lit_rl"]["run"].items() if name != "logs"}
    for rank, state in enumerate(ranks):
        state = {name: joined(part) if "pieces" in part else part for name, part in state.items()}
        parts |= {name if len(ranks) == 1 else f"{name}[rank {rank}]": part for name, part in state.items()}
    return parts


def _network(tensor: str) -> str:
    moments = {"normalizer.obs.": "obs_moments", "normalizer.reward.": "reward_moments"}
    return next((part for prefix, part in moments.items() if tensor.startswith(prefix)), tensor.split(".")[0])
