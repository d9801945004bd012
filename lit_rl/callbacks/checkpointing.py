"""Saving the whole state between two iterations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_rl.callbacks.config import CheckpointConfig, Moment
from lit_rl.callbacks.rows import Rows
from lit_rl.checkpoint.commit import commit, dumps, staging_path
from lit_rl.checkpoint.files import memory_named, write_durably
from lit_rl.checkpoint.manifest import LIGHTNING_FILE, REASONS, manifest_fields, rank_file
from lit_rl.checkpoint.reader import Opened, load_bare, load_lightning
from lit_rl.checkpoint.rows import RowFiles
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.errors import DiskFull, LitRLError, NotFinite, disk_named
from lit_rl.ranks.group import caused_by
from lit_rl.state.parts import check_finite
from lit_rl.state.stored import Stored
from lit_rl.training.module import RLModule, states_of_callbacks


class PlainCheckpointIO(CheckpointIO):
    """Lightning's file, written once and fsynced, and opened without running code."""

    def __init__(self) -> None:
        self.written: dict[str, bytes] = {}
        self.opened: Opened | None = None
        """The checkpoint that has been read and checked already: the Trainer is given what was read."""
        self.rank = 0
        """Of this process."""
        self.refused: LitRLError | None = None
        """Why the last file could not be written. It is not raised at once: the other ranks wait in a barrier then."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.written, self.refused = {}, None
        try:
            check_finite(checkpoint)
        except NotFinite as error:
            self.refused = NotFinite(f"not saved: {error} Older checkpoints are untouched.")
            return
        try:
            with memory_named(Path(path)):
                data = dumps(checkpoint)
            write_durably(Path(path), data)
        except LitRLError as error:
            self.refused = error
            return
        self.written = {Path(path).name: data}

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        if self.opened is not None and Path(path) == self.opened.lightning_file:
            state = load_lightning(self.opened)
            if 0 < self.rank < self.opened.manifest.world_size:  # its callbacks' states are its own
                own = self.opened.look(rank_file(self.rank))
                state["callbacks"] = own.get("callbacks", state.get("callbacks", {}))
            return state
        return load_bare(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class Checkpointer(Callback):
    """Saves when `CheckpointConfig` says so, and whenever training ends.

    Whether an interval is over depends on the run's timesteps and seconds before and after an iteration and on nothing
    else, so a stop in between neither loses a save nor adds one.

    Args:
        store: where checkpoints go.
        config: when.
        run_id: the run's id.
        segment: number of this process lifetime of the run.
        opened: what the run goes on from.
        parent: name of the checkpoint that this segment goes on from.
    """

    def __init__(
        self,
        store: CheckpointStore,
        config: CheckpointConfig,
        run_id: str,
        segment: int,
        opened: Opened | None = None,
        parent: str | None = None,
    ) -> None:
        self._store = store
        self._config = config
        self._run_id = run_id
        self._segment, self._parent = segment, parent
        self._io = PlainCheckpointIO()
        self._io.opened = opened
        self._row_files = RowFiles(opened)
        self._said_copies = False
        self._before = Moment(0, 0.0)
        self.rows = Rows()
        self.on_boundary: list[Callable[[Trainer, RLModule], None]] = []
        """Called at the end of every iteration, after every hook of everybody else and before a save."""
        self.on_saved: Callable[[], None] | None = None
        """Called on the first rank once a checkpoint of this segment has been committed."""
        self.has_saved = False
        """Whether this segment has committed a checkpoint."""
        self.saved_at: int | None = None
        """Timesteps of the newest checkpoint of this segment, or of the one it resumed from."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = self._io
        self._io.rank = trainer.global_rank

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        self._before = Moment.of(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        self.rows.settle(trainer, pl_module)
        for look in self.on_boundary:
            look(trainer, pl_module)
        reason = self._reason(trainer, pl_module)
        if reason is not None:
            self.save(trainer, pl_module, reason)

    def _reason(self, trainer: Trainer, module: RLModule) -> str | None:
        """Why the state of this moment is to be saved; `None` if it is not."""
        before, self._before = self._before, Moment.of(module)
        due = self._config.passed(before, self._before)
        if self._config.every_minutes is not None:
            due = module.ranks.broadcast(due)  # clocks differ from rank to rank
        change = module.iteration.level_change
        holds = {
            "promotion": self._config.before_promotion and change is not None and change.new > change.old,
            "best": self._config.save_best and module.iteration.is_best,
            "finish": module.loop.finished,
            "stop": trainer.should_stop,
            "interval": due,
        }
        return next((reason for reason in REASONS if holds.get(reason)), None)

    def save(self, trainer: Trainer, module: RLModule, reason: str) -> None:
        """Save the state of this moment, which must lie between two iterations. All ranks call it together.

        Where the disk is full, what retention will let go after this save is deleted now, and it is tried once more.

        Args:
            reason: why, one of `REASONS`.

        Raises:
            StorageError: the disk said no; nothing of the new checkpoint is left, older ones are untouched.
            NotFinite: weights, moments or optimizer hold NaN or infinity.
        """
        if self.saved_at == module.counters.timesteps:
            return
        try:
            self._save(trainer, module, reason)
        except LitRLError as error:
            if not caused_by(error, DiskFull):
                raise
            if module.ranks.is_first:
                gone = self._store.make_room()
                _say(f"WARNING: {error} Deleted {', '.join(gone) or 'nothing'} and trying once more.")
            self._save(trainer, module, reason)
        self.saved_at, self.has_saved = module.counters.timesteps, True
        if self.on_saved is not None and module.ranks.is_first:
            self.on_saved()

    def _save(self, trainer: Trainer, module: RLModule, reason: str) -> None:
        counters = module.counters
        try:
            self._stage_and_commit(trainer, module, reason)
        except Exception:
            if module.ranks.is_first:
                self._store.discard(counters.timesteps, self._segment)
            raise
        finally:
            self._io.written = {}

    def _stage_and_commit(self, trainer: Trainer, module: RLModule, reason: str) -> None:
        ranks, final = module.ranks, self._store.place(module.counters.timesteps, self._segment)
        ranks.first(lambda: self._stage(trainer, module))
        trainer.save_checkpoint(staging_path(final) / LIGHTNING_FILE, weights_only=False)
        ranks.together(lambda: self._write_rank(staging_path(final), module))
        ranks.first(lambda: self._commit(final, module, reason))

    def _stage(self, trainer: Trainer, module: RLModule) -> None:
        """Write what the logs hold, and make the place where the checkpoint is put together."""
        for logger in trainer.loggers:
            with disk_named(logger.save_dir):
                logger.save()
        module.log_book.marks = self.rows.positions(trainer, module)
        self._store.stage(module.counters.timesteps, self._segment)
        self._row_files.begin()

    def _write_rank(self, staging: Path, module: RLModule) -> None:
        """This rank's own file, beside those of the others."""
        if self._io.refused is not None:
            raise self._io.refused
        own = staging / rank_file(module.ranks.rank)
        state = module.capture_rank()
        for name, part in module.rank_parts().items():
            if isinstance(part, Stored):
                state[name]["files"] = self._row_files.write(staging, module.ranks.rank, name, part)
        with memory_named(own):
            self._io.written[own.name] = dumps(state | self._own_callbacks(module))
        write_durably(own, self._io.written[own.name])

    def _own_callbacks(self, module: RLModule) -> dict[str, Any]:
        """The callbacks' states of a rank that is not the first: that one's stand in Lightning's file."""
        if module.ranks.is_first:
            return {}
        kept = module.boundary_callbacks
        return {"callbacks": states_of_callbacks(module.trainer) if kept is None else kept}

    def _commit(self, final: Path, module: RLModule, reason: str) -> None:
        """Make a whole of what all ranks have written."""
        counters = module.counters
        fields = manifest_fields(
            self._run_id,
            self._segment,
            counters.timesteps,
            counters.iterations,
            module.ranks.size,
            module.score.value,
            module.score.level,
            reason,
            self._parent,
        )
        with memory_named(final):
            made = commit(staging_path(final), final, fields, self._io.written, self._row_files.entries)
            self._store.accept(made, self._row_files.new)
            self._row_files.base = made
        if self._row_files.copies is not None and not self._said_copies:
            self._said_copies = True
            _say(
                f"WARNING: no hard links in {self._store.directory} ({self._row_files.copies}): every checkpoint "
                "copies all rows of the replay; raise checkpoint.every_timesteps if that takes long."
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        self.save(trainer, pl_module, "finish" if pl_module.loop.finished else "stop")


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # standard output may go to the same disk
        print(line, flush=True)
