"""Giving the environments of a checkpoint to another number of ranks than wrote it, or to another number of them."""

from __future__ import annotations

from typing import Any

import torch

from lit_rl.errors import DataError


def deal(states: list[dict[str, Any]], rank: int, rows: range) -> dict[str, Any]:
    """A rank's own state, put together from those of the ranks that wrote the checkpoint.

    Environments keep their global index, and with it their episode in flight and every random stream. The global
    streams, which belong to the user's code, go on from those of the rank of the same number, or of its remainder.
    Environments that the checkpoint does not hold have an empty state: they begin their first episodes.

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
    return {**states[rank % len(states)], "environments": own}
