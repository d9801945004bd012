"""The first of a run's callbacks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_rl.callbacks.rescue import Rescue
from lit_rl.checkpoint.reader import Opened, load_rank
from lit_rl.errors import ConfigError
from lit_rl.process import on_screen
from lit_rl.run.adopt import put_in_place
from lit_rl.run.aside import cut
from lit_rl.run.lineage import Lineage
from lit_rl.run.loggers import write_ids
from lit_rl.run.logs import MetricsCsv, RunTensorBoard
from lit_rl.run.planned import Plan
from lit_rl.run.report import banner
from lit_rl.state.deal import deal
from lit_rl.training.module import RLModule, states_of_callbacks


class Opening(Callback):
    """Puts a resumed run's last pieces in place, and says what happened.

    Args:
        module: of the run.
        plan: how it begins.
        directory: of the run, and its lineage.
        exact: refuse to go on where an episode in flight could not be brought back.
        rescue: is given the state from which training begins.
        last: the run's own callbacks, which look at an iteration after those of the user.
    """

    def __init__(
        self,
        module: RLModule,
        plan: Plan,
        directory: Path,
        lineage: Lineage,
        exact: bool,
        rescue: Rescue,
        last: list[Callback],
    ) -> None:
        self._module, self._plan, self._directory, self._lineage = module, plan, directory, lineage
        self._exact, self._rescue, self._last = exact, rescue, last

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the run's own callbacks look at an iteration after those of the user: what they do there belongs to it.

        Raises:
            ConfigError: the module has a hook of its own that would come later still.
        """
        if type(pl_module).on_train_batch_end is not LightningModule.on_train_batch_end:
            raise ConfigError(
                f"{type(pl_module).__name__} defines on_train_batch_end, which Lightning calls after the state has "
                "been saved; do it at the end of update(), or in a callback."
            )
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        last = self._last
        trainer.callbacks = [*(each for each in callbacks if each not in last), *last]  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module, plan = self._module, self._plan
        if module.ranks.is_first:
            write_ids(trainer.loggers, self._directory)
        if plan.checkpoint is None:
            for logger in trainer.loggers:
                logger.log_hyperparams(module.settings())
            if plan.adopted is not None:
                plan.notes += put_in_place(plan.adopted, module, trainer.optimizers)
                if plan.moved:
                    module.clock.move_target(plan.schedule, plan.timesteps, plan.target)
            return
        module.resume_rank(self._rank_state(plan.checkpoint))
        plan.checkpoint.release()  # the other ranks have read theirs themselves
        if plan.changed:
            plan.notes += module.carry_optimizers()
        if plan.moved:
            module.clock.move_target(plan.schedule, plan.timesteps, plan.target)
        if not module.ranks.is_first:
            return
        written = plan.checkpoint.manifest.world_size
        if written < module.ranks.size and states_of_callbacks(trainer):
            plan.notes.append(f"callbacks: ranks {written} to {module.ranks.size - 1} are new and take rank 0's state")
        marks = module.log_book.marks
        logs = [each for each in trainer.loggers if isinstance(each, MetricsCsv | RunTensorBoard)]
        for log in [*logs, *module.loop.journals]:
            if type(log).__name__ in marks:
                plan.notes += cut(log, marks[type(log).__name__])

    def _rank_state(self, checkpoint: Opened) -> dict[str, Any]:
        """This rank's part of a checkpoint, whatever number of ranks wrote it."""
        ranks, written = self._module.ranks, checkpoint.manifest.world_size
        if written == ranks.size and self._plan.n_envs_before is None:
            return load_rank(checkpoint, ranks.rank)
        states = [load_rank(checkpoint, rank) for rank in range(written)]
        return deal(states, ranks.rank, ranks.rows(self._module.env_config.n_envs))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._module.on_ready = self._announce

    def _announce(self) -> None:
        module, ranks = self._module, self._module.ranks
        assert module.play.envs is not None
        before = self._plan.n_envs_before or module.env_config.n_envs
        own = [module.play.envs.offset + row for row in module.play.restarted]
        own = [index for index in own if index < before]  # others are new
        restarted = [index for of_rank in ranks.gather(own) for index in of_rank]
        if restarted and self._exact:
            error = ConfigError(
                f"resume.require is exact, but environments {restarted} could not be brought back to "
                "the step they were in; use resume.require: boundary to restart their episodes."
            )
            error.reported = not ranks.is_first
            raise error
        self._rescue.take(module.trainer, module)
        if ranks.is_first:
            said = banner(module, self._plan, self._lineage, self._directory, restarted)
            print(on_screen(said, sys.stdout), flush=True)
