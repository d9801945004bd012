"""What of Lightning's Trainer the loops here carry out."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import Precision

from lit_rl.errors import ConfigError


def check_trainer(trainer: Trainer) -> None:
    """Refuse what the Trainer offers and the loops here would not carry out.

    Raises:
        ConfigError: names the setting.
    """
    if trainer.world_size > 1:
        raise ConfigError(
            f"trainer.devices and trainer.num_nodes come to {trainer.world_size} processes; this version trains in "
            "one. Set trainer.devices: 1."
        )
    if type(trainer.precision_plugin) is not Precision:
        raise ConfigError(
            f"trainer.precision: {trainer.precision} is not supported by this version; leave it at 32-true."
        )
    for key in ("gradient_clip_val", "gradient_clip_algorithm"):
        if getattr(trainer, key) is not None:
            raise ConfigError(f"trainer.{key} is not used here; set model.max_grad_norm instead.")
    if trainer.accumulate_grad_batches != 1:
        raise ConfigError("trainer.accumulate_grad_batches is not used here; set model.batch_size instead.")
