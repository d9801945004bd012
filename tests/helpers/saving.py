"""A save through the real `Checkpointer`, of a state of a few tensors and without a Trainer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from lit_rl.callbacks.checkpointing import Checkpointer
from lit_rl.callbacks.config import CheckpointConfig
from lit_rl.checkpoint.manifest import Checkpoint
from lit_rl.checkpoint.reader import load_lightning, load_rank
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.ranks.group import Ranks
from lit_rl.state.plain import first_difference
from lit_rl.state.records import Counters, LogBook


def lightning_state(timesteps: int) -> dict[str, Any]:
    """What stands for Lightning's dictionary: different at every timestep."""
    generator = torch.Generator().manual_seed(timesteps)
    return {
        "state_dict": {"policy.weight": torch.randn(32, 16, generator=generator)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.randn(32, 16, generator=generator)}}}],
        "timesteps": timesteps,
    }


def rank_state(timesteps: int) -> dict[str, Any]:
    return {"streams": torch.full((8,), timesteps)}


class _Trainer:
    """As much of a Trainer as a save needs."""

    is_global_zero, global_rank, world_size = True, 0, 1

    def __init__(self, state: dict[str, Any]) -> None:
        self.loggers: list[Any] = []
        self.strategy = SingleDeviceStrategy("cpu")
        self.state = state

    def save_checkpoint(self, path: Path, weights_only: bool) -> None:
        self.strategy.checkpoint_io.save_checkpoint(self.state, path)


def save(
    directory: Path,
    timesteps: int,
    *,
    segment: int = 1,
    score: float | None = None,
    reason: str = "interval",
    state: dict[str, Any] | None = None,
    beside: bool = False,
    **config: Any,
) -> None:
    """Save `lightning_state(timesteps)`, or `state`, as a run's checkpoint callback does.

    Args:
        beside: let it be written as it is beside training, and wait for that.
    """
    settings = CheckpointConfig(**{"keep_last": 2, **config})
    store = CheckpointStore(directory, settings.keep_last, settings.keep_every)
    trainer = _Trainer(lightning_state(timesteps) if state is None else state)
    module = SimpleNamespace(
        counters=Counters(timesteps=timesteps, iterations=timesteps),
        log_book=LogBook(),
        loop=SimpleNamespace(journals=[]),
        ranks=Ranks(),
        score=SimpleNamespace(value=score, level=0),
        capture_rank=lambda: rank_state(timesteps),
        rank_parts=dict,
    )
    checkpointer = Checkpointer(store, settings, "id", segment)
    checkpointer.setup(cast(Any, trainer), cast(Any, module), "fit")
    checkpointer.save(cast(Any, trainer), cast(Any, module), reason, wait=not beside)
    checkpointer.wait()


def assert_whole(checkpoint: Checkpoint) -> None:
    """Every bit is what was given to `save`."""
    timesteps = checkpoint.manifest.timesteps
    assert first_difference(load_lightning(checkpoint), lightning_state(timesteps)) is None
    assert first_difference(load_rank(checkpoint, 0), rank_state(timesteps)) is None
