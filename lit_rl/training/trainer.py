"""What of Lightning's Trainer the loops here carry out."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.plugins.precision import MixedPrecision, Precision

from lit_rl.errors import ConfigError
from lit_rl.ranks.launch import check_strategy
from lit_rl.training.refused import REFUSED, check_option

_CHECKPOINTS = "the checkpoint block saves the whole state; set checkpoint.every_timesteps, keep_last or save_best"
_SCHEDULE = "give the setting a schedule, such as model.learning_rate: lin_3e-4"
_EPOCHS = "it counts epochs of data, which there are none of here"

REFUSED_CALLBACKS = {
    "ModelCheckpoint": _CHECKPOINTS,
    "OnExceptionCheckpoint": "an error saves the state before the iteration by itself",
    "Checkpoint": _CHECKPOINTS,
    "StochasticWeightAveraging": "averaged weights would act, learn and be resumed as others than the run's own",
    "WeightAveraging": "averaged weights would act, learn and be resumed as others than the run's own",
    "GradientAccumulationScheduler": "set model.batch_size",
    "LearningRateFinder": _SCHEDULE,
    "BatchSizeFinder": "set model.batch_size",
    "BaseFinetuning": _EPOCHS,
    "ModelPruning": _EPOCHS,
    "SpikeDetection": "updates whose loss is not finite are skipped and counted; see model.max_bad_updates",
    "ThroughputMonitor": "time/fps is logged after every iteration",
    "BasePredictionWriter": "nothing is predicted from data; use lit-rl test",
    "ProgressBar": "the run shows a bar of its own; trainer.enable_progress_bar: false switches it off",
}
"""Lightning's callbacks that cannot work here, and what to use instead; a class below one counts as it."""


def check_callback(callback: type) -> None:
    """Refuse a callback of Lightning's that cannot work here.

    Raises:
        ConfigError: names it, and what to use instead.
    """
    for name, instead in REFUSED_CALLBACKS.items():
        if issubclass(callback, getattr(lightning_callbacks, name)):
            raise ConfigError(f"trainer.callbacks: {callback.__name__} is not used here; {instead}.")
    if issubclass(callback, lightning_callbacks.DeviceStatsMonitor) and find_spec("psutil") is None:
        raise ConfigError(f"trainer.callbacks: {callback.__name__} needs psutil. Install it with `pip install psutil`.")


def check_trainer(trainer: Trainer) -> None:
    """Refuse what the Trainer offers and the loops here would not carry out.

    Raises:
        ConfigError: names the setting.
    """
    check_strategy(trainer)
    if type(trainer.precision_plugin) not in (Precision, MixedPrecision):
        raise ConfigError(
            f"trainer.precision: {trainer.precision} is not supported; use 32-true, bf16-mixed or 16-mixed."
        )
    leftover = next(Path(trainer.default_root_dir).glob("hpc_ckpt_*.ckpt"), None) if SLURMEnvironment.detect() else None
    if leftover is not None:  # Lightning would load it in place of what `mode` says
        raise ConfigError(f"{leftover} is left from another program and would take this run over; move it away.")
    for key in REFUSED:
        if hasattr(trainer, key):
            check_option(key, getattr(trainer, key))
    connector: Any = trainer._accelerator_connector
    check_option("use_distributed_sampler", connector.use_distributed_sampler)
    for callback in _given(trainer):
        check_callback(type(callback))


def _given(trainer: Trainer) -> Iterable[Callback]:
    """The Trainer's callbacks, without those that it makes itself unless told otherwise: a bar, checkpoints."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    bars = (lightning_callbacks.TQDMProgressBar, lightning_callbacks.RichProgressBar)  # the second where rich is there
    return [each for each in callbacks if type(each) not in bars and not _is_default(each)]


def _is_default(callback: Callback) -> bool:
    own = lightning_callbacks.ModelCheckpoint
    if type(callback) is not own or callback.state_key != own().state_key or callback.filename is not None:
        return False
    return callback.dirpath is None or Path(callback.dirpath).name == "checkpoints"  # as it is once it is resolved
