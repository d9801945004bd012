"""Rows of the logs belong to iterations: each counts once its iteration has ended, and not before."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer

from lit_rl.training.module import RLModule


class Rows:
    """Where the logs stood at the last boundary, whatever was logged since.

    What callbacks and modules say by `self.log` is written here, at the end of the iteration that says it: Lightning
    would write it after the state has been saved, and again in iterations that say nothing.
    """

    def __init__(self) -> None:
        self._journals: dict[str, dict[str, Any]] | None = None

    def settle(self, trainer: Trainer, module: RLModule) -> None:
        """An iteration has ended: its rows stay."""
        _write_logged(trainer, module.counters.timesteps)
        for logger in trainer.loggers:
            if hasattr(logger, "settle"):
                logger.settle()
        self._journals = _positions(module.loop.journals)

    def positions(self, trainer: Trainer, module: RLModule) -> dict[str, dict[str, Any]]:
        """By log, where it stood at the last boundary; loggers must have been saved."""
        journals = _positions(module.loop.journals) if self._journals is None else self._journals
        return _positions(trainer.loggers) | journals


def _positions(logs: list[Any]) -> dict[str, dict[str, Any]]:
    return {type(log).__name__: log.position() for log in logs if hasattr(log, "position")}


def _write_logged(trainer: Trainer, timesteps: int) -> None:
    """What Lightning does after the hooks of an iteration; values logged in this one are not those of the next."""
    connector, results, loop = trainer._logger_connector, trainer._results, trainer.fit_loop.epoch_loop
    if not results:
        return
    connector.on_batch_end()
    count, loop._batches_that_stepped = loop._batches_that_stepped, timesteps
    connector.update_train_step_metrics()
    loop._batches_that_stepped = count
    for value in results.values():
        if value.is_tensor and value.meta.on_step and not value.meta.on_epoch:
            value.reset()
