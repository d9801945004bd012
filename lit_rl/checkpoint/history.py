"""Which checkpoints of a run belong together: a run that goes on from an older one leaves what came after it behind.

Each process lifetime (segment) goes on from one checkpoint, and its own checkpoints name it (`parent`). The history of
a run is that of its newest checkpoint: those of its segment, then those of the segment of its parent up to the parent,
and so on.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lit_rl.checkpoint.manifest import Checkpoint, place_of


def belonging(checkpoints: Iterable[Checkpoint], unreadable: Iterable[Path]) -> tuple[list[Checkpoint], list[Path]]:
    """Divide a run's checkpoints into those of its present history, newest first, and those left behind.

    Where a segment does not say what it went on from (earlier versions of lit_rl did not write it down, and damaged
    ones cannot be asked), it is taken to have begun right before its first checkpoint.

    Args:
        checkpoints: with a readable manifest.
        unreadable: directories of the others, which show that a segment has saved.
    """
    ordered = sorted(checkpoints, key=lambda c: c.manifest.order, reverse=True)
    parents: dict[int, tuple[int, int]] = {}
    firsts: dict[int, int] = {}
    for each in ordered:
        segment, timesteps = each.manifest.order
        firsts[segment] = min(timesteps, firsts.get(segment, timesteps))
        parent = place_of(each.manifest.parent or "")
        if parent is not None and parent[0] < segment:
            parents[segment] = parent
    for segment, timesteps in filter(None, (place_of(path.name) for path in unreadable)):
        firsts[segment] = min(timesteps, firsts.get(segment, timesteps))
    limits: dict[int, float] = {}
    bound, segment_below = float("inf"), max(firsts, default=0)
    for segment in sorted(firsts, reverse=True):
        if segment > segment_below:
            continue  # left behind by the segment above, which went on from an earlier one
        limits[segment] = bound
        segment_below, bound = parents.get(segment, (segment - 1, min(bound, firsts[segment] - 1)))
    kept = [c for c in ordered if c.manifest.timesteps <= limits.get(c.manifest.segment, -1)]
    return kept, [c.path for c in ordered if c not in kept]
