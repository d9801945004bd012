"""The state between two iterations, kept in memory, so that an error in the middle of one can still save it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lit_rl.state.parts import Stateful


class Snapshot:
    """Copies of all that an iteration changes. Taking one again copies into the same memory.

    Args:
        tensors: weights and moments; each is changed in place only.
        optimizers: whose state is copied as well.
        parts: everything else, by name.
    """

    def __init__(self, tensors: list[Tensor], optimizers: list[Optimizer], parts: dict[str, Stateful]) -> None:
        self._tensors, self._optimizers, self._parts = tensors, optimizers, parts
        self._sources: list[Tensor] = []
        self._copies: list[Tensor] = []
        self._states: dict[str, dict[str, Any]] = {}
        self.rank: dict[str, Any] = {}
        """This rank's own parts."""

    @torch.no_grad()
    def take(self, rank: dict[str, Any]) -> None:
        """Copy the state of this moment; `rank` is that of the rank's own parts."""
        sources = [*self._tensors, *self._optimizer_tensors()]
        if len(sources) != len(self._sources):
            self._copies = [torch.empty_like(source) for source in sources]
        self._sources = sources
        for copy, source in zip(self._copies, sources, strict=True):
            copy.copy_(source)
        self._states = {name: part.state_dict() for name, part in self._parts.items()}
        self.rank = rank

    @torch.no_grad()
    def put_back(self) -> None:
        """Everything as it was when the snapshot was taken, except the rank's own parts."""
        now = len(self._tensors) + len(self._optimizer_tensors())
        for source, copy in zip(self._sources, self._copies, strict=True):
            source.copy_(copy)
        if now != len(self._sources):  # the first step of an optimizer makes its state
            for optimizer in self._optimizers:
                optimizer.state.clear()
        for name, part in self._parts.items():
            part.load_state_dict(self._states[name])

    def _optimizer_tensors(self) -> list[Tensor]:
        return [
            value
            for optimizer in self._optimizers
            for state in optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ]
