"""Whether a checkpoint could hold what the user's own classes keep."""

from __future__ import annotations

from lightning.pytorch import Callback, Trainer

from lit_rl.errors import ConfigError
from lit_rl.state.plain import to_plain
from lit_rl.training.module import RLModule


def check_holdable(module: RLModule, trainer: Trainer | None) -> None:
    """Look whether a checkpoint could hold what the user's own classes keep.

    Raises:
        ConfigError: it could not; names the class.
    """
    callbacks: list[Callback] = [] if trainer is None else trainer.callbacks  # type: ignore[attr-defined]
    kept = {f"the state of the callback {type(each).__name__}": each.state_dict for each in callbacks}
    kept["the state of the networks"] = module.state_dict
    for what, state_dict in kept.items():
        try:
            to_plain(state_dict())
        except TypeError as error:
            raise ConfigError(f"{what} cannot be saved: {error}; keep tensors and plain values there.") from None
