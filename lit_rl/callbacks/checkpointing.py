"""Saving the whole state between two iterations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_rl.callbacks.config import CheckpointConfig, Moment
from lit_rl.callbacks.rows import Rows
from lit_rl.checkpoint.background import Background
from lit_rl.checkpoint.commit import dumps
from lit_rl.checkpoint.files import memory_named, write_durably
from lit_rl.checkpoint.manifest import LIGHTNING_FILE, REASONS, manifest_fields, rank_file
from lit_rl.checkpoint.reader import Opened, load_bare, load_lightning
from lit_rl.checkpoint.rows import RowFile, RowFiles
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.checkpoint.writer import Capture, Writer
from lit_rl.errors import LitRLError, NotFinite, StorageError, disk_named
from lit_rl.ranks.group import Ranks
from lit_rl.state.parts import check_finite
from lit_rl.state.stored import Stored
from lit_rl.training.module import RLModule, states_of_callbacks


class PlainCheckpointIO(CheckpointIO):
    """Lightning's file, written once and fsynced, or captured for a checkpoint; opened without running code."""

    def __init__(self) -> None:
        self.opened: Opened | None = None
        """The checkpoint that has been read and checked already: the Trainer is given what was read."""
        self.rank = 0
        """Of this process."""
        self.refused: LitRLError | None = None
        """Why the last file could not be made. It is not raised at once: the other ranks wait in a barrier then."""
        self._captured: dict[str, bytes] | None = None

    @contextlib.contextmanager
    def capturing(self) -> Iterator[dict[str, bytes]]:
        """Keep what is saved meanwhile in memory, by the name of its file, and write nothing."""
        self._captured = {}
        try:
            yield self._captured
        finally:
            self._captured = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.refused, file = None, Path(path)
        try:
            check_finite(checkpoint)
            with memory_named(file):
                data = dumps(checkpoint)
            if self._captured is None:
                write_durably(file, data)
            else:
                self._captured[file.name] = data
        except NotFinite as error:
            self.refused = NotFinite(f"not saved: {error} Older checkpoints are untouched.")
        except LitRLError as error:
            self.refused = error

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

    A save has two halves. The state is *captured* between two iterations, as bytes that training does not change. Then
    it is *committed*: written, fsynced, renamed, read back. That goes on beside the iterations that follow, one at a
    time; what ends a run waits for it. What learning depends on sees the first half alone, and what is said or deleted
    because of a checkpoint waits for the second.

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
        self._writer = Writer(store, self._row_files)
        self._background = Background()
        self._before = Moment(0, 0.0)
        self.rows = Rows()
        self.on_boundary: list[Callable[[Trainer, RLModule], None]] = []
        """Called at the end of every iteration, after every hook of everybody else and before a save."""
        self.on_committed: Callable[[], None] | None = None
        """Called on the first rank, by the thread that writes, once a checkpoint of this segment has been committed."""
        self.has_committed = False
        """Whether this segment has committed a checkpoint; certain after `wait`."""
        self.captured_at: int | None = None
        """Timesteps of the newest state that has been captured, or of the one this segment resumed from."""

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
        if self._background.has_ended:
            self.wait()
        reason = self._reason(trainer, pl_module)
        if reason is not None:
            self.save(trainer, pl_module, reason, wait=trainer.should_stop)

    def _reason(self, trainer: Trainer, module: RLModule) -> str | None:
        """Why the state of this moment is to be saved; `None` if it is not."""
        before, self._before = self._before, Moment.of(module)
        due = self._config.passed(before, self._before)
        if self._config.every_minutes is not None:
            due = module.ranks.broadcast(due)  # clocks differ from rank to rank
        promoted = any(change.new > change.old for change in module.iteration.level_changes)
        holds = {
            "promotion": self._config.before_promotion and promoted,
            "best": self._config.save_best and module.iteration.is_best,
            "finish": module.loop.finished,
            "stop": trainer.should_stop,
            "interval": due,
        }
        return next((reason for reason in REASONS if holds.get(reason)), None)

    def save(self, trainer: Trainer, module: RLModule, reason: str, wait: bool = True) -> None:
        """Save the state of this moment, which must lie between two iterations. All ranks call it together.

        The save before is committed first.

        Args:
            reason: why, one of `REASONS`.
            wait: return once it is committed. Else that happens beside training, where one process trains the run,
                nothing is set against it, and the new rows of a replay are few enough to be held in memory.

        Raises:
            StorageError: the disk said no, to this save or to the one before; nothing of it is left, older ones are
                untouched.
            NotFinite: weights, moments or optimizer hold NaN or infinity.
        """
        self.wait()
        if self.captured_at == module.counters.timesteps:
            return
        ranks = module.ranks
        capture = self._writer.with_room(lambda: self._capture(trainer, module, reason), ranks)
        if wait or not (self._config.background and ranks.alone and capture.is_complete):
            self._commit(capture, ranks)
        else:
            self._background.start(lambda: self._commit(capture, ranks))
        self.captured_at = module.counters.timesteps

    def wait(self) -> None:
        """Return once what has been captured is committed.

        Raises:
            StorageError: the disk said no.
        """
        try:
            self._background.wait()
        except Exception:
            self.captured_at = None
            raise

    def _capture(self, trainer: Trainer, module: RLModule, reason: str) -> Capture:
        """The state of this moment, as far as it is this rank's to write. The logs are flushed as far as it goes."""
        ranks, counters, score = module.ranks, module.counters, module.score
        place = self._store.place(counters.timesteps, self._segment)
        ranks.first(lambda: self._flush_logs(trainer, module))
        with self._io.capturing() as files:
            trainer.save_checkpoint(place / LIGHTNING_FILE, weights_only=False)
        own, rows = ranks.together(lambda: self._capture_rank(place, module))
        fields = manifest_fields(
            self._run_id,
            self._segment,
            counters.timesteps,
            counters.iterations,
            ranks.size,
            score.value,
            score.level,
            reason,
            self._parent,
        )
        return Capture(fields, {**files, rank_file(ranks.rank): own}, rows)

    def _flush_logs(self, trainer: Trainer, module: RLModule) -> None:
        """Write what the logs hold, and note how far they have come."""
        for logger in trainer.loggers:
            with disk_named(logger.save_dir):
                logger.save()
        module.log_book.marks = self.rows.positions(trainer, module)

    def _capture_rank(self, place: Path, module: RLModule) -> tuple[bytes, list[RowFile]]:
        """The content of this rank's own file, and its files of rows."""
        if self._io.refused is not None:
            raise self._io.refused
        state, rows = module.capture_rank(), []
        with memory_named(place / rank_file(module.ranks.rank)):
            for name, part in module.rank_parts().items():
                if isinstance(part, Stored):
                    files = self._row_files.capture(module.ranks.rank, name, part)
                    state[name]["files"] = [file.name for file in files]
                    rows += files
            return dumps(state | self._own_callbacks(module)), rows

    def _own_callbacks(self, module: RLModule) -> dict[str, Any]:
        """The callbacks' states of a rank that is not the first: that one's stand in Lightning's file."""
        if module.ranks.is_first:
            return {}
        kept = module.boundary_callbacks
        return {"callbacks": states_of_callbacks(module.trainer) if kept is None else kept}

    def _commit(self, capture: Capture, ranks: Ranks) -> None:
        self._writer.write(capture, ranks)
        self.has_committed = True
        if self.on_committed is not None and ranks.is_first:
            self.on_committed()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        self.save(trainer, pl_module, "finish" if pl_module.loop.finished else "stop")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Nothing ends before what has been captured is committed. What ended training is what is shown first."""
        try:
            self.wait()
        except LitRLError as error:
            if not isinstance(exception, StorageError):
                exception.add_note(f"The last checkpoint could not be saved: {error}")
