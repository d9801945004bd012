"""Whether a run's gradients are written by hand, or torch's autograd works them out, compiled or not.

They differ in the last bits, so a run keeps to what it began with: what a checkpoint was computed with goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from lit_rl.errors import ConfigError
from lit_rl.networks.flat import ELEMENTWISE
from lit_rl.training.config import Fast

BY_HAND, BY_AUTOGRAD, COMPILED = "by hand", "autograd", "autograd, compiled"

_FULL = "32-true"


def fast_networks(
    module: Any, optimizer_class: type[Optimizer], make: Callable[[], str | None], compile: Callable[[], str | None]
) -> None:
    """Change a module's networks to gradients by hand, if that is wanted; `module.gradients` says what they have.

    Args:
        module: the algorithm; `fast` is its setting, and `gradients_before` what the run was computed with so far.
        optimizer_class: of the networks.
        make: changes them, or says why it cannot be done.
        compile: has torch.compile work on them, or says the same.

    Raises:
        ConfigError: `fast` is true or `compile`, and it cannot be done.
    """
    asked: Fast = module.fast
    module.gradients = BY_AUTOGRAD
    if asked == "compile":
        why = compile()
        if why is not None:
            raise ConfigError(f"model.fast: {why}; use auto or false.")
        module.gradients = COMPILED
    elif asked is not False and not (asked == "auto" and module.gradients_before in (BY_AUTOGRAD, COMPILED)):
        why = _refused(module, optimizer_class) or make()
        if why is None:
            module.gradients = BY_HAND
        elif asked is True:
            raise ConfigError(f"model.fast: these networks cannot have it: {why}; use auto or false.")
    module.gradients_before = module.gradients


def check_precision(module: Any, precision: Any) -> None:
    """Refuse `fast: true` where the Trainer's precision is not float32's, before anything is written."""
    if getattr(module, "fast", False) is True and str(precision) != _FULL:
        raise ConfigError(f"model.fast: gradients by hand need trainer.precision: {_FULL}, not {precision}; use auto.")


def _refused(module: Any, optimizer_class: type[Optimizer]) -> str | None:
    """Why no networks of a run could have it."""
    precision = _FULL if module._trainer is None else str(module._trainer.precision)
    if precision != _FULL:
        return f"trainer.precision is {precision}"
    if optimizer_class not in ELEMENTWISE:
        return f"{optimizer_class.__name__} may treat parameters as more than single numbers"
    return None
