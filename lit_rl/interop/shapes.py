"""What sizes the tensors of an actor-critic policy tell."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from lit_rl.errors import DataError


@dataclass(frozen=True)
class NetworkShapes:
    """Sizes of an actor-critic network, read off its tensors. Layers are output widths, first to last."""

    features: int
    """Width that enters the first layer behind the features extractor."""
    shared_layers: tuple[int, ...]
    policy_layers: tuple[int, ...]
    value_layers: tuple[int, ...]
    action_outputs: int
    """Action dimensions of a Box, else the number of logits."""
    log_std: tuple[int, ...] | None
    """Shape of `log_std`: (actions,) plain, (latent, actions) or (latent, 1) for gSDE; None without Box
    actions.
    """

    @property
    def use_sde(self) -> bool:
        return self.log_std is not None and len(self.log_std) == 2


def infer_shapes(policy: Mapping[str, Tensor], where: str = "the policy") -> NetworkShapes:
    """Sizes of an actor-critic policy; `DataError` when it is not one or its layers do not fit together."""
    for name in ("action_net.weight", "value_net.weight"):
        if name not in policy or policy[name].ndim != 2:
            raise DataError(f"{where}: has no matrix {name!r}: not an actor-critic policy.")
    shared = _layers(policy, "shared_net")
    hidden = {net: _layers(policy, net) for net in ("policy_net", "value_net")}
    entry: set[int] = set()
    for net, head in (("policy_net", "action_net.weight"), ("value_net", "value_net.weight")):
        chain = [*shared, *hidden[net], policy[head]]
        for before, after in itertools.pairwise(chain):
            if before.shape[0] != after.shape[1]:
                raise DataError(f"{where}: the layers of {net} do not fit: {before.shape[0]} into {after.shape[1]}.")
        entry.add(chain[0].shape[1])
    log_std = policy.get("log_std")
    return NetworkShapes(
        features=min(entry),
        shared_layers=tuple(w.shape[0] for w in shared),
        policy_layers=tuple(w.shape[0] for w in hidden["policy_net"]),
        value_layers=tuple(w.shape[0] for w in hidden["value_net"]),
        action_outputs=policy["action_net.weight"].shape[0],
        log_std=None if log_std is None else tuple(log_std.shape),
    )


_FIRST_LAYERS = {
    "q_net.q_net": "both",
    "quantile_net.quantile_net": "both",
    "actor.latent_pi": "pi",
    "actor.mu": "pi",
    "critic.qf0": "qf",
}
"""Networks of off-policy algorithms by their names, and what `net_arch` calls their layers."""


def infer_net_arch(policy: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Layers of an off-policy algorithm's networks, output widths, as far as they are named: `pi` and `qf`, or `both`.

    The output's own layer is none of them; SAC's actor has it apart.
    """
    found: dict[str, list[int]] = {}
    for name, key in _FIRST_LAYERS.items():
        pattern = re.compile(rf"{re.escape(name)}\.(\d+)\.weight")
        layers = sorted((int(m.group(1)), t.shape[0]) for n, t in policy.items() if (m := pattern.fullmatch(n)))
        widths = [width for _, width in layers]
        if widths and key not in found:
            found[key] = widths if name == "actor.latent_pi" else widths[:-1]
    return found


def _layers(policy: Mapping[str, Tensor], net: str) -> list[Tensor]:
    pattern = re.compile(rf"mlp_extractor\.{net}\.(\d+)\.weight")
    found = [(int(m.group(1)), t) for n, t in policy.items() if (m := pattern.fullmatch(n)) and t.ndim == 2]
    return [tensor for _, tensor in sorted(found, key=lambda pair: pair[0])]
