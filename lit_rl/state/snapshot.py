"""The state between two iterations, kept in memory, so that an error in the middle of one can still save it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lit_rl.state.parts import Stateful


class Snapshot:
    """Copies of all that an iteration changes. Taking one again copies into the same memory.

    Args:
        module: whose weights and moments, each changed in place only, and whose extra state.
        optimizers: whose state is copied as well.
        parts: everything else, by name.
    """

    def __init__(self, module: nn.Module, optimizers: list[Optimizer], parts: dict[str, Stateful]) -> None:
        self._tensors = [value for value in module.state_dict().values() if isinstance(value, Tensor)]
        self._with_extra = [m for m in module.modules() if type(m).get_extra_state is not nn.Module.get_extra_state]
        self._optimizers, self._parts = optimizers, parts
        self._extra: list[Any] = []
        self._sources: list[Tensor] = []
        self._copies: list[Tensor] = []
        self._kept: list[_Kept] = []
        self._states: dict[str, dict[str, Any]] = {}
        self.rank: dict[str, Any] = {}
        """This rank's own parts."""

    @torch.no_grad()
    def take(self, rank: dict[str, Any]) -> None:
        """Copy the state of this moment; `rank` is that of the rank's own parts."""
        self._kept = [_Kept(optimizer) for optimizer in self._optimizers]
        self._extra = [copy.deepcopy(each.get_extra_state()) for each in self._with_extra]
        sources = [*self._tensors, *(tensor for kept in self._kept for tensor in kept.tensors)]
        if [source.shape for source in sources] != [copy.shape for copy in self._copies]:
            self._copies = [torch.empty_like(source) for source in sources]
        self._sources = sources
        torch._foreach_copy_(self._copies, sources)
        self._states = {name: part.state_dict() for name, part in self._parts.items()}
        self.rank = rank

    @torch.no_grad()
    def put_back(self) -> None:
        """Everything as it was when the snapshot was taken, except the rank's own parts."""
        torch._foreach_copy_(self._sources, self._copies)
        for kept in self._kept:
            kept.put_back()
        for module, extra in zip(self._with_extra, self._extra, strict=True):
            module.set_extra_state(extra)
        for name, part in self._parts.items():
            part.load_state_dict(self._states[name])


class _Kept:
    """An optimizer at one moment: settings of its groups, and the state of each parameter.

    Tensors are held as they are, for they are copied elsewhere; any other value is copied here.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        own = type(optimizer).state_dict is not Optimizer.state_dict  # it keeps more than the base class knows of
        self._whole = copy.deepcopy(optimizer.state_dict()) if own else None
        self._groups = [{key: value for key, value in group.items() if key != "params"} for group in _groups(optimizer)]
        self._state = {
            parameter: {key: _held(value) for key, value in state.items()}
            for parameter, state in optimizer.state.items()
        }

    @property
    def tensors(self) -> list[Tensor]:
        """Of the state, in its order."""
        return [value for state in self._state.values() for value in state.values() if isinstance(value, Tensor)]

    def put_back(self) -> None:
        """The optimizer as it was; the first step of one makes its state, which goes again."""
        for group, kept in zip(_groups(self._optimizer), self._groups, strict=True):
            group.update(kept)
        self._optimizer.state.clear()
        self._optimizer.state.update(self._state)
        if self._whole is not None:
            self._optimizer.load_state_dict(self._whole)


def _held(value: Any) -> Any:
    return value if isinstance(value, Tensor) else copy.deepcopy(value)


def _groups(optimizer: Optimizer) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = optimizer.param_groups
    return groups
