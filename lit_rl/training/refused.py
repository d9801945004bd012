"""Options of Lightning's Trainer that the loops here do not carry out."""

from __future__ import annotations

from typing import Any, NamedTuple

from lit_rl.errors import ConfigError


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
