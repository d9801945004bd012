"""Lightning's EarlyStopping: looks whenever its metric is there anew (there are no epochs here), and ends the run."""

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

    One that monitors an evaluation looks after evaluations, any other one after every iteration. One that says stop
    ends the run; which one, and why, is in the checkpoint, so that a resume knows it.

    Args:
        goes_on: a resumed run was given a new target, to go on past the end that one of them has made.
    """

    def __init__(self, goes_on: bool = False) -> None:
        self._goes_on = goes_on
        self._given: dict[str, dict[str, Any]] = {}
        self._ended_before: dict[str, Any] = {}
        self._end: dict[str, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning would have it look once more when training ends, after the state has been saved."""
        self._given = arguments_of(trainer)  # a state that is loaded replaces the patience
        for each in _early_stoppings(trainer):
            each._check_on_train_epoch_end = False

    def state_dict(self) -> dict[str, Any]:
        """The end that has been made; empty while there is none."""
        return self._end

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._ended_before = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stay at an end that still holds; past one, whoever made it waits for its patience anew."""
        assert isinstance(pl_module, RLModule)
        if not self._ended_before:
            return
        if why_ended(self._ended_before, self._given) is not None and not self._goes_on:
            self._take(self._ended_before, pl_module)
            return
        for each in _early_stoppings(trainer):
            if each.state_key == self._ended_before["callback"]:
                each.wait_count, each.patience = 0, self._given[each.state_key]["patience"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        for each in _early_stoppings(trainer):
            of_run = each.monitor in pl_module.metrics
            if of_run or (each.monitor in trainer.callback_metrics and not is_metric(each.monitor)):
                self._look(each, trainer, pl_module)
            elif each.strict and not _may_come(each.monitor, pl_module):
                raise _unknown(each)

    def _look(self, callback: EarlyStopping, trainer: Trainer, module: RLModule) -> None:
        """Let one look, and learn whether it says stop. All ranks learn the same."""
        before, trainer.should_stop = trainer.should_stop, False
        callback.on_validation_end(trainer, module)
        if trainer.should_stop:
            key, reason = callback.state_key, callback.stopping_reason_message or "it said stop"
            end = {"callback": key, "monitor": callback.monitor, "arguments": self._given[key]}
            self._take({**end, "reason": reason.partition(" Signaling")[0].rstrip(".")}, module)
        trainer.should_stop = trainer.should_stop or before

    def _take(self, end: dict[str, Any], module: RLModule) -> None:
        self._end, module.loop.ended_early = end, end["monitor"]


_ARGUMENTS = ("patience", "min_delta", "stopping_threshold", "divergence_threshold", "check_finite")


def arguments_of(trainer: Trainer | None) -> dict[str, dict[str, Any]]:
    """By what every EarlyStopping of the Trainer decides, by its state's key (which has its metric and mode)."""
    return {each.state_key: {name: getattr(each, name) for name in _ARGUMENTS} for each in _early_stoppings(trainer)}


def why_ended(end: dict[str, Any], given: dict[str, dict[str, Any]]) -> str | None:
    """Why the run stays at an end: what the EarlyStopping has said.

    Args:
        end: the state of `EarlyStops` in a checkpoint.
        given: what the Trainer has now, from `arguments_of`.

    Returns:
        the reason; `None` if there is no end, or the one that made it is gone or has other arguments.
    """
    return end["reason"] if end and given.get(end["callback"]) == end["arguments"] else None


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
