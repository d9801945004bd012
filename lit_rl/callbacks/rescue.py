"""Saving on an error: the last state between two iterations, never a half-done one."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_rl.algorithms.base import RLModule
from lit_rl.callbacks.checkpointing import Checkpointer
from lit_rl.errors import LitRLError, StorageError
from lit_rl.state.snapshot import Snapshot


class Rescue(Callback):
    """Keeps the state of every iteration boundary in memory, and saves the last one when training ends by an error.

    With several ranks there is nobody to save with when one of them fails: the last checkpoint is what is left.

    Args:
        checkpointer: that saves.
    """

    def __init__(self, checkpointer: Checkpointer) -> None:
        self._checkpointer = checkpointer
        self._snapshot: Snapshot | None = None

    def take(self, trainer: Trainer, module: RLModule) -> None:
        """Keep the state of this moment, which lies between two iterations."""
        if not module.ranks.alone:
            return
        if self._snapshot is None:
            parts: dict[str, Any] = dict(module.run_parts())
            parts |= {f"schedule {i}": each.scheduler for i, each in enumerate(trainer.lr_scheduler_configs)}
            parts["precision"] = trainer.precision_plugin
            self._snapshot = Snapshot(list(module.state_dict().values()), trainer.optimizers, parts)
        self._snapshot.take(module.rank_now())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        self.take(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        assert isinstance(pl_module, RLModule)
        if self._snapshot is None or isinstance(exception, StorageError):
            return
        snapshot, self._snapshot = self._snapshot, None
        snapshot.put_back()
        pl_module.boundary = snapshot.rank
        timesteps = pl_module.counters.timesteps
        try:
            self._checkpointer.save(trainer, pl_module, "error")
        except LitRLError as error:
            exception.add_note(f"The state before this iteration could not be saved: {error}")
        else:
            exception.add_note(f"The state before this iteration, at timestep {timesteps:,}, is saved: mode: resume.")
