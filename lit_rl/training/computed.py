"""What a run is computed with: device and precision. Equal to the bit is only what the same ones compute."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule

from lit_rl.training.fast import BY_AUTOGRAD


def computed_with(module: LightningModule) -> dict[str, Any]:
    """Device, by its name, precision and the way of the gradients of a module, kept in its checkpoints."""
    trainer = module._trainer
    return {
        "device": device_name(module.device),
        "precision": None if trainer is None else str(trainer.precision),
        "gradients": getattr(module, "gradients", BY_AUTOGRAD),
    }


def device_name(device: torch.device) -> str:
    """The card's name, or the kind of device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def said_of_device(module: LightningModule, before: dict[str, Any] | None) -> list[str]:
    """Lines for the banner: the card, what is missing for exactness there, and that the run was on something else.

    Args:
        module: on its device.
        before: `computed_with` of the checkpoint that the run goes on from; `None` where none says it.
    """
    lines, now = [], computed_with(module)
    if module.device.type == "cuda":
        exact = (
            torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
        )
        lines.append(
            f"device: {now['device']}{'' if exact else '; equal to the bit needs trainer.deterministic: true'}"
        )
    if before is not None and "gradients" not in before:  # older than the choice
        before = {**before, "gradients": BY_AUTOGRAD}
    if before is not None and before != now:
        told = (", ".join(str(value) for value in each.values()) for each in (before, now))
        lines.append(f"computed with: {' -> '.join(told)}; equal to the bit is only what the same compute")
    elif getattr(module, "fast", False) is not False:
        lines.append(f"gradients: {now['gradients']}")
    return lines
