"""Gradients by hand or by autograd: what the algorithms have in common whose networks can have both."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Self

from torch import nn
from torch.optim import Optimizer

from lit_rl.errors import ConfigError
from lit_rl.networks.compiled import lacks_compiler
from lit_rl.networks.dense import hooked
from lit_rl.networks.flat import Flat
from lit_rl.networks.policies import make_optimizer
from lit_rl.training.fast import BY_HAND, fast_networks
from lit_rl.training.module import RLModule


class TwoWays(RLModule):
    """An algorithm whose networks start out with autograd, and change to gradients by hand once they have a device.

    Args: see `RLModule`.
    """

    @abstractmethod
    def by_hand(self) -> str | None:
        """Let plain networks have their gradients by hand, all or none; returns why not."""

    @abstractmethod
    def networks_of_update(self) -> tuple[list[Any], list[Any]]:
        """What an update calls: the networks that learn, and their targets."""

    @abstractmethod
    def make_optimizers(self) -> list[Optimizer]:
        """New ones, of the networks as they are."""

    def training_mode(self, on: bool) -> None:
        """Let dropout and batch norm do what they do in training, or not. Plain perceptrons have none, and no time."""
        policy: Any = self.policy
        if self.gradients != BY_HAND:
            policy.set_training_mode(on)

    def build_networks(self) -> None:
        super().build_networks()
        if self.fast in (True, "compile"):
            self._change()  # says what is in the way before anything is written

    def configure_optimizers(self) -> Any:
        self._change()
        scheduled = [self.scheduled(each) for each in self.make_optimizers()]
        return tuple(scheduled) if len(scheduled) > 1 else scheduled[0]

    def _change(self) -> None:
        policy: Any = self.policy
        fast_networks(self, policy.optimizer_class, self.by_hand, self._compile)

    def _compile(self) -> str | None:
        why = lacks_compiler(self.device)
        if why is None:
            learned, targets = self.networks_of_update()
            for each in learned:
                each.compile()
            for each in targets:
                each.compile(target=True)
        return why

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Self:
        """Parameters that are moved, as to the CPU after training on a GPU, leave the one tensor: they get another."""
        by_hand = self.gradients == BY_HAND
        before = [each.data_ptr() for each in self.policy.parameters()] if by_hand else []
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if by_hand and before != [each.data_ptr() for each in self.policy.parameters()]:
            self._change()
        return self

    def training_step(self, batch: Any, batch_idx: int) -> None:
        part = hooked(self.policy) if self.gradients == BY_HAND else None
        if part is not None:
            raise ConfigError(
                f"model.fast: {part} has a hook, which a backward pass by hand does not call; register it before the "
                "Trainer makes the optimizers, or set model.fast: false."
            )
        super().training_step(batch, batch_idx)

    def optimizer_of(self, parameters: Iterable[nn.Parameter], network: Any) -> Optimizer:
        """One of the policy's class; over flat memory where the network has it."""
        make: Callable[..., Optimizer] = functools.partial(make_optimizer, self.policy, self.learning_rate(1.0))
        parameters = list(parameters)
        flat: Flat | None = getattr(network, "flat", None)
        return make(parameters) if flat is None else flat.optimizer(make, parameters)
