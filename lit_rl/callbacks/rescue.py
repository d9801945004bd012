"""Saving on an error: the last state between two iterations, never a half-done one."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_rl.callbacks.checkpointing import Checkpointer
from lit_rl.envs.failures import EnvironmentLost
from lit_rl.errors import EXIT_STOPPED, ConfigError, LitRLError, StorageError
from lit_rl.ranks.group import caused_by
from lit_rl.state.parts import Stateful, state_of
from lit_rl.state.snapshot import Snapshot
from lit_rl.state.stored import Stored
from lit_rl.training.module import RLModule, states_of_callbacks


class Rescue(Callback):
    """Keeps the state of every iteration boundary in memory, and saves the last one when training ends by an error.

    With several ranks there is nobody to save with when one of them fails: the last checkpoint is what is left. Where
    all end together by one error, as when an evaluation is given up, they save together.

    Args:
        checkpointer: that saves.
    """

    def __init__(self, checkpointer: Checkpointer) -> None:
        self._checkpointer = checkpointer
        self._snapshot: Snapshot | None = None
        self._own: dict[str, Stateful | None] = {}
        """This rank's parts."""
        self._stored: list[Stored] = []
        """Those of them that keep by themselves what they lose within an iteration."""
        self._environments: dict[str, Any] = {}
        """Those of this rank at the end of the iteration that is being logged, under their name among its parts."""
        self._callbacks: dict[str, Any] = {}

    def take(self, trainer: Trainer, module: RLModule) -> None:
        """Keep the state of this moment, which lies between two iterations."""
        if not module.ranks.alone and module.eval_config.every is None:
            return
        if self._snapshot is None:
            parts: dict[str, Any] = {name: part for name, part in module.run_parts().items() if part is not None}
            parts |= {f"schedule {i}": each.scheduler for i, each in enumerate(trainer.lr_scheduler_configs)}
            parts["precision"] = trainer.precision_plugin
            self._snapshot = Snapshot(module, trainer.optimizers, parts)
            self._own = module.rank_parts()
            self._stored = [part for part in self._own.values() if isinstance(part, Stored)]
        own, earlier = self._own, self._environments
        self._snapshot.take({name: earlier[name] if name in earlier else state_of(own[name]) for name in own})
        for part in self._stored:
            part.settle()
        self._callbacks = states_of_callbacks(trainer)
        self._environments = {}
        module.loop.on_boundary = lambda: self._capture(module)

    def _capture(self, module: RLModule) -> None:
        """Environments may be lost at any moment: if they are by now, it shows before the iteration is logged.

        What callbacks may still change, such as global streams, is taken after them.
        """
        self._environments = {"environments": module.play.state_dict()}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        assert isinstance(pl_module, RLModule)
        ours = exception if isinstance(exception, LitRLError) else None
        together = pl_module.ranks.alone or (ours is not None and ours.agreed)
        refused = ours is not None and (caused_by(ours, StorageError) or caused_by(ours, ConfigError))
        if self._snapshot is None or refused or not together:
            return
        snapshot, self._snapshot = self._snapshot, None
        snapshot.put_back()
        for part in self._stored:
            part.roll_back()
        pl_module.boundary, pl_module.boundary_callbacks = snapshot.rank, self._callbacks
        timesteps = pl_module.counters.timesteps
        try:
            self._checkpointer.save(trainer, pl_module, "error")
        except LitRLError as error:
            exception.add_note(f"The state before this iteration could not be saved: {error}")
        else:
            if isinstance(exception, EnvironmentLost):
                exception.exit_code = EXIT_STOPPED
            exception.add_note(f"The state before this iteration, at timestep {timesteps:,}, is saved: mode: resume.")
