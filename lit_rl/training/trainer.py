"""What of Lightning's Trainer the loops here carry out."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.plugins.precision import MixedPrecision, Precision

from lit_rl.errors import ConfigError
from lit_rl.ranks.launch import check_strategy


class Refused(NamedTuple):
    """An option of the Trainer that means nothing here.

    Args:
        unset: the values with which it asks for nothing.
        instead: what to use.
    """

    unset: tuple[Any, ...]
    instead: str


_END = "set total_timesteps, or --pause_at to end a segment"
_EVALUATION = "evaluation beside training is set in the eval block"
_NO_LOADERS = "there are no data loaders here; remove it"

REFUSED = {
    "fast_dev_run": Refused((False,), "use --pause_at 1, which trains one iteration"),
    "barebones": Refused((False,), "remove it"),
    "max_epochs": Refused((-1, None, 1000), _END),
    "min_epochs": Refused((None, 0), _END),
    "max_steps": Refused((-1,), _END),
    "min_steps": Refused((None,), _END),
    "overfit_batches": Refused((0.0,), _NO_LOADERS),
    "limit_train_batches": Refused((None, 1.0), _END),
    "limit_val_batches": Refused((None, 1.0), _EVALUATION),
    "limit_test_batches": Refused((None, 1.0), "lit-rl test plays --episodes"),
    "limit_predict_batches": Refused((None, 1.0), _NO_LOADERS),
    "val_check_interval": Refused((None, 1.0), _EVALUATION),
    "check_val_every_n_epoch": Refused((1,), _EVALUATION),
    "num_sanity_val_steps": Refused((None, 0, 2), _EVALUATION),
    "log_every_n_steps": Refused(
        (None, 1, 50), "metrics are logged after every iteration; set model.cycles_per_iteration for longer ones"
    ),
    "gradient_clip_val": Refused((None,), "set model.max_grad_norm instead"),
    "gradient_clip_algorithm": Refused((None,), "set model.max_grad_norm instead"),
    "accumulate_grad_batches": Refused((1,), "set model.batch_size instead"),
    "use_distributed_sampler": Refused((True,), _NO_LOADERS),
    "sync_batchnorm": Refused((False,), "remove it"),
    "reload_dataloaders_every_n_epochs": Refused((0,), _NO_LOADERS),
    "enable_checkpointing": Refused((None, False), "set the checkpoint block instead"),
    "model_registry": Refused((None,), "remove it"),
}
"""Options that the loops here do not carry out."""

_CHECKPOINTS = "the checkpoint block saves the whole state; set checkpoint.every_timesteps, keep_last or save_best"
_SCHEDULE = "give the setting a schedule, such as model.learning_rate: lin_3e-4"
_EPOCHS = "it counts epochs of data, which there are none of here"

REFUSED_CALLBACKS = {
    "EarlyStopping": "set eval.stop_on_reward",
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


def check_option(key: str, value: Any) -> None:
    """Refuse an option of the Trainer that means nothing here.

    Raises:
        ConfigError: names it, and what to use instead.
    """
    refused = REFUSED.get(key)
    if refused is not None and not any(value == unset and _same_kind(value, unset) for unset in refused.unset):
        raise ConfigError(f"trainer.{key} is not used here; {refused.instead}.")


def _same_kind(value: Any, unset: Any) -> bool:
    """Whether two equal values mean the same: 1 is one batch, 1.0 all of them."""
    return type(value) is type(unset) or value == 0


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
    """The Trainer's callbacks, without the one that it makes itself unless told otherwise."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [
        each for each in callbacks if type(each) is not lightning_callbacks.TQDMProgressBar and not _is_default(each)
    ]


def _is_default(callback: Callback) -> bool:
    own = lightning_callbacks.ModelCheckpoint
    if type(callback) is not own or callback.state_key != own().state_key or callback.filename is not None:
        return False
    return callback.dirpath is None or Path(callback.dirpath).name == "checkpoints"  # as it is once it is resolved
