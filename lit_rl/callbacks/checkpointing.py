"""Saving the whole state between two iterations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_rl.algorithms.base import RLModule
from lit_rl.errors import ConfigError, DataError, LitRLError
from lit_rl.state.checkpoint import (
    LIGHTNING_FILE,
    commit,
    dumps,
    loads,
    manifest_fields,
    rank_file,
    staging_path,
    verify,
)
from lit_rl.state.files import write_durably
from lit_rl.state.store import CheckpointStore


@dataclass
class CheckpointConfig:
    """When the state is saved, and how many are kept. It is always saved when a run stops or finishes, and after the
    best evaluation so far.

    Args:
        every_timesteps: save at the first iteration boundary at or past each multiple; `null` only at the end.
        keep_last: how many of the newest checkpoints to keep. The best one is kept besides.
    """

    every_timesteps: int | None = 50_000
    keep_last: int = 3

    def __post_init__(self) -> None:
        if self.every_timesteps is not None and self.every_timesteps < 1:
            raise ConfigError(f"checkpoint.every_timesteps is {self.every_timesteps}; give at least 1, or null.")
        if self.keep_last < 1:
            raise ConfigError(f"checkpoint.keep_last is {self.keep_last}; at least 1 has to be kept.")


class PlainCheckpointIO(CheckpointIO):
    """Lightning's file, written once and waited for, and opened without running code."""

    def __init__(self) -> None:
        self.written: dict[str, bytes] = {}
        self.refused: LitRLError | None = None
        """Why the last file could not be written. It is not raised at once: the other ranks wait in a barrier then."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.written, self.refused = {}, None
        data = dumps(checkpoint)
        try:
            write_durably(Path(path), data)
        except LitRLError as error:
            self.refused = error
            return
        self.written = {Path(path).name: data}

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        file = Path(path)
        if not file.is_file():
            raise DataError(f"{file} is not there.")
        state: dict[str, Any] = loads(file.read_bytes(), file)
        return state

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class Checkpointer(Callback):
    """Saves at multiples of `every_timesteps`, after the best evaluation so far, and whenever training ends.

    Whether to save depends on the timesteps before and after an iteration and on nothing else, so a stop in between
    neither loses a save nor adds one.

    Args:
        store: where checkpoints go.
        config: when.
        run_id: the run's id.
        segment: number of this process lifetime of the run.
    """

    def __init__(self, store: CheckpointStore, config: CheckpointConfig, run_id: str, segment: int) -> None:
        self._store = store
        self._config = config
        self._run_id = run_id
        self._segment = segment
        self._io = PlainCheckpointIO()
        self._before = 0
        self.saved_at: int | None = None
        """Timesteps of the newest checkpoint of this segment, or of the one it resumed from."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = self._io

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        self._before = pl_module.counters.timesteps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        now, before = pl_module.counters.timesteps, self._before
        self._before = now
        every = self._config.every_timesteps
        due = every is not None and now // every > before // every
        if trainer.should_stop or due or pl_module.evaluated_best:
            self.save(trainer, pl_module)

    def save(self, trainer: Trainer, module: RLModule) -> None:
        """Save the state of this moment, which must lie between two iterations. All ranks call it together."""
        counters = module.counters
        if self.saved_at == counters.timesteps:
            return
        for logger in trainer.loggers:
            logger.save()
        module.log_book.marks = {
            type(log).__name__: log.position()
            for log in [*trainer.loggers, *module.journals]
            if hasattr(log, "position")
        }
        ranks, final = module.ranks, self._store.place(counters.timesteps, self._segment)
        ranks.first(lambda: self._store.stage(counters.timesteps, self._segment))
        trainer.save_checkpoint(staging_path(final) / LIGHTNING_FILE, weights_only=False)
        ranks.together(lambda: self._write_rank(staging_path(final), module))
        ranks.first(lambda: self._commit(final, module))
        self._io.written = {}
        self.saved_at = counters.timesteps

    def _write_rank(self, staging: Path, module: RLModule) -> None:
        """This rank's own file, beside those of the others."""
        if self._io.refused is not None:
            raise self._io.refused
        write_durably(staging / rank_file(module.ranks.rank), dumps(module.capture_rank()))

    def _commit(self, final: Path, module: RLModule) -> None:
        """Make a whole of what all ranks have written."""
        counters = module.counters
        fields = manifest_fields(
            self._run_id,
            self._segment,
            counters.timesteps,
            counters.iterations,
            module.ranks.size,
            module.score,
            module.score_level,
        )
        commit(staging_path(final), final, fields, self._io.written)
        verify(final)
        self._store.settle()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        self.save(trainer, pl_module)
