"""Giving the environments of a checkpoint to another number of ranks than wrote it, or to another number of them."""

from __future__ import annotations

from typing import Any

import torch

from lit_rl.errors import DataError

BY_ENVIRONMENT = "by_environment"
"""In the state of a rank's part: tensors with a row for each environment of it, where zeros mean that one is new."""


def deal(states: list[dict[str, Any]], rank: int, rows: range) -> dict[str, Any]:
    """A rank's own state, put together from those of the ranks that wrote the checkpoint.

    Environments keep their global index, and with it their episode in flight and every random stream. The global
    streams, which belong to the user's code, go on from those of the rank of the same number, or of its remainder.
    Environments that the checkpoint does not hold have an empty state: they begin their first episodes. So are parts
    whose state has `BY_ENVIRONMENT` dealt out, with zeros for those.

    Args:
        states: the parts of each rank that wrote, in rank order.
        rank: that asks.
        rows: global indices of its environments.

    Raises:
        DataError: the checkpoint's environments are not these.
    """
    written = [state["environments"] for state in states]
    slots = [slot for environments in written for slot in environments["slots"]]
    returns = torch.cat([torch.as_tensor(environments["returns"]) for environments in written])
    if written[0]["offset"] != 0 or len(slots) != len(returns):
        raise DataError(f"the checkpoint holds {len(slots)} environments, and {len(returns)} discounted returns.")
    missing = max(rows.stop - len(slots), 0)
    slots += [{} for _ in range(missing)]
    returns = torch.cat([returns, torch.zeros(missing, dtype=returns.dtype)])
    own = {
        "grade": "exact" if all(environments["grade"] == "exact" for environments in written) else "boundary",
        "offset": rows.start,
        "slots": slots[rows.start : rows.stop],
        "returns": returns[rows.start : rows.stop].clone(),
    }
    others = states[rank % len(states)]
    dealt = {
        name: _joined([state[name] for state in states], rows, missing) for name in others if _is_dealt(others[name])
    }
    return {**others, **dealt, "environments": own}


def _is_dealt(part: Any) -> bool:
    return isinstance(part, dict) and BY_ENVIRONMENT in part


def _joined(parts: list[dict[str, Any]], rows: range, missing: int) -> dict[str, Any]:
    """A part that has a row for each environment, of the environments of a rank."""
    joined: dict[str, Any] = {}
    for name in parts[0][BY_ENVIRONMENT]:
        whole = torch.cat([torch.as_tensor(part[BY_ENVIRONMENT][name]) for part in parts])
        whole = torch.cat([whole, torch.zeros(missing, *whole.shape[1:], dtype=whole.dtype)])
        joined[name] = whole[rows.start : rows.stop].clone()
    return {**parts[0], BY_ENVIRONMENT: joined}
