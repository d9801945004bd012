"""What of Lightning's Trainer the loops here carry out."""

from __future__ import annotations

from pathlib import Path

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision, Precision

from lit_rl.errors import ConfigError
from lit_rl.ranks.launch import check_strategy


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
    for key in ("gradient_clip_val", "gradient_clip_algorithm"):
        if getattr(trainer, key) is not None:
            raise ConfigError(f"trainer.{key} is not used here; set model.max_grad_norm instead.")
    if trainer.accumulate_grad_batches != 1:
        raise ConfigError("trainer.accumulate_grad_batches is not used here; set model.batch_size instead.")
