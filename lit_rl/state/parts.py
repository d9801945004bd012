"""The list of everything a run is. A part that is missing here is a resume bug.

In Lightning's own dictionary (`lightning.ckpt`): the module's weights and moments (`state_dict`), optimizers, learning
rate schedulers, loops. In ours beside it: the parts of `RUN_PARTS`, equal on all ranks, and those of `RANK_PARTS`, in
one file per rank.
"""

from __future__ import annotations

from typing import Any, Protocol

from lit_rl.errors import DataError, NotFinite
from lit_rl.state.plain import first_not_finite, to_plain


class Stateful(Protocol):
    """A part of a run's state."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Take a state from `state_dict` over."""


RUN_PARTS = {
    "counters": "timesteps, iterations, episodes, updates, gradient steps, skipped minibatches",
    "clock": "target and horizon of every schedule",
    "episodes": "window of finished episodes behind rollout/ep_rew_mean",
    "curriculum": "level, its counts, windows and history",
    "evaluation": "result of the last evaluation",
    "best": "best score so far",
    "logs": "position of every log file, time spent",
}
RANK_PARTS = {
    "environments": "episodes in flight: seeds, actions, checks; discounted returns of the reward scaling",
    "streams": "global random streams of Python, NumPy, torch and CUDA",
}
LIGHTNING_PARTS = {
    "policy": "weights",
    "obs_moments": "running mean and variance of the observations",
    "reward_moments": "running mean and variance of the discounted return",
    "optimizer": "optimizer state",
    "lr_schedule": "learning rate scheduler",
    "precision": "scale of the losses in half precision",
}


def capture(parts: dict[str, Stateful], names: dict[str, str]) -> dict[str, Any]:
    """The state of every named part, as tensors and plain values.

    Raises:
        KeyError: the module does not offer a part of the list, or offers one that is not in it.
        TypeError: a part holds something that a checkpoint must not.
    """
    if parts.keys() != names.keys():
        raise KeyError(
            f"parts {sorted(parts.keys() ^ names.keys())} are offered but not listed, or listed but not offered"
        )
    return {name: to_plain(parts[name].state_dict(), f"[{name!r}]") for name in names}


def restore(parts: dict[str, Stateful], names: dict[str, str], state: dict[str, Any]) -> None:
    """Load every named part.

    Raises:
        DataError: one is missing from the state.
    """
    missing = sorted(names.keys() - state.keys())
    if missing:
        raise DataError(f"the checkpoint has no part '{missing[0]}': it was written by an earlier version of lit_rl.")
    for name in names:
        parts[name].load_state_dict(state[name])


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

    What differs from process to process by its nature is left out: time spent and positions in log files.
    """
    weights = lightning["state_dict"]
    parts: dict[str, Any] = {
        "policy": {key: value for key, value in weights.items() if key.startswith("policy.")},
        "obs_moments": {key: value for key, value in weights.items() if key.startswith("normalizer.obs.")},
        "reward_moments": {key: value for key, value in weights.items() if key.startswith("normalizer.reward.")},
        "optimizer": lightning.get("optimizer_states", []),
        "lr_schedule": lightning.get("lr_schedulers", []),
    }
    if "MixedPrecision" in lightning:
        parts["precision"] = lightning["MixedPrecision"]
    for name in RUN_PARTS:
        if name != "logs":
            parts[name] = lightning["lit_rl"]["run"][name]
    for rank, state in enumerate(ranks):
        for name in RANK_PARTS:
            parts[name if len(ranks) == 1 else f"{name}[rank {rank}]"] = state[name]
    return parts
