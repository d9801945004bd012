"""Which tensor is whose: the one table, for warm starts, reports and files of stable-baselines3.

An algorithm names in its `TENSORS` what its networks' tensors belong to; here stand the rows of stable-baselines3's
policies, and how a table is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Table = Mapping[str, str]
"""Part by beginning of a tensor's name; the longest beginning that fits counts."""

ACTOR_CRITIC: Table = {
    "": "policy",  # what a policy class of a user's own adds, too
    "value_net.": "value",
    "mlp_extractor.value_net.": "value",
    "vf_features_extractor.": "value",
}
"""`ActorCriticPolicy` and what derives from it (PPO, A2C)."""

MOMENTS: Table = {"normalizer.obs.": "obs_moments", "normalizer.reward.": "reward_moments"}


def within(prefix: str, table: Table) -> Table:
    """A table for names that begin with `prefix`."""
    return {prefix + beginning: part for beginning, part in table.items()}


def part_of(name: str, table: Table) -> str:
    """The part a tensor belongs to by its name; what the table says nothing of is a part by its first word."""
    fitting = [beginning for beginning in table if name.startswith(beginning)]
    return table[max(fitting, key=len)] if fitting else name.split(".")[0]


@dataclass(frozen=True)
class Owned:
    """A tensor of a network under one of its names.

    Args:
        part: it belongs to.
        twin: the first name of the same tensor, where this is another.
    """

    part: str
    twin: str | None = None


def owners(tensors: Mapping[str, Any], table: Table) -> dict[str, Owned]:
    """Whose each tensor of a network is, by name, and each extra state that a module of a user's keeps beside them.

    A tensor that stands under several names (stable-baselines3 lists a features extractor that policy and value share
    three times) belongs to one part under all of them, that of its first name.
    """
    found: dict[str, Owned] = {}
    first: dict[tuple[int, tuple[int, ...]], str] = {}
    for name, tensor in tensors.items():
        shared = isinstance(tensor, Tensor) and tensor.numel() > 0
        one = first.setdefault((tensor.data_ptr(), tuple(tensor.shape)), name) if shared else name
        found[name] = Owned(part_of(one, table), None if one == name else one)
    return found
