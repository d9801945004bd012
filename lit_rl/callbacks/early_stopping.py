"""Lightning's EarlyStopping: looks whenever its metric is there anew, for there are no epochs here."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.training.metrics import FAMILIES, METRICS, is_metric
from lit_rl.training.module import RLModule


def check_monitors(module: RLModule, trainer: Trainer | None) -> None:
    """Refuse an EarlyStopping whose metric no run of this module logs. Names of the user's own are not known here.

    Raises:
        ConfigError: names it, and the nearest one.
    """
    for each in _early_stoppings(trainer):
        if each.monitor.startswith("eval/") and module.eval_config.every is None:
            raise ConfigError(f"{_said(each)}, and there are no evaluations; give eval.every.")
        if each.monitor.partition("/")[0] in FAMILIES and not is_metric(each.monitor):
            raise _unknown(each)


class EarlyStops(Callback):
    """Has every EarlyStopping of the Trainer look at the end of an iteration that has its metric.

    One that monitors an evaluation looks after evaluations, any other one after every iteration.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning would have it look once more when training ends, after the state has been saved."""
        for each in _early_stoppings(trainer):
            each._check_on_train_epoch_end = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        for each in _early_stoppings(trainer):
            of_run = each.monitor in pl_module.metrics
            if of_run or (each.monitor in trainer.callback_metrics and not is_metric(each.monitor)):
                each.on_validation_end(trainer, pl_module)
            elif each.strict and not _may_come(each.monitor, pl_module):
                raise _unknown(each)


def _may_come(monitor: str, module: RLModule) -> bool:
    """Whether a metric that this iteration has not logged may be in a later one."""
    if monitor.startswith("train/"):
        return "train/n_updates" not in module.metrics
    return is_metric(monitor)


def _early_stoppings(trainer: Trainer | None) -> list[EarlyStopping]:
    callbacks: list[Callback] = [] if trainer is None else trainer.callbacks  # type: ignore[attr-defined]
    return [each for each in callbacks if isinstance(each, EarlyStopping)]


def _said(callback: EarlyStopping) -> str:
    return f"trainer.callbacks: {type(callback).__name__} monitors '{callback.monitor}'"


def _unknown(callback: EarlyStopping) -> ConfigError:
    near = did_you_mean(callback.monitor, METRICS) or " docs/metrics.md lists what there is."
    return ConfigError(f"{_said(callback)}, which is not logged here.{near}")
