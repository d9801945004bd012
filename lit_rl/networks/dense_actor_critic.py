"""An actor and a critic of plain perceptrons, with the backward pass written by hand.

Shapes: B a batch, H width of the last hidden layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import MlpExtractor
from torch import Tensor

from lit_rl.networks.actor_critic import ActorCritic, Evaluated, Slope, allowed
from lit_rl.networks.dense import Dense, Spec, layers_of, parameters_of_layers, same_shapes
from lit_rl.networks.flat import Flat
from lit_rl.networks.quick import Quick
from lit_rl.ops.distributions import StateDependentNoise, WithGradient


class DenseActorCritic(ActorCritic):
    """`ActorCritic` for networks that `layers_of` knows, over a flat copy of their parameters.

    Hidden layers of actor and critic are computed side by side where their shapes are equal.

    Args:
        policy: whose parameters come to lie in `flat`.
        actor, critic: the layers of each, the last of which gives head and value.
        masked: whether observations come with the actions that are allowed.
    """

    def __init__(
        self, policy: ActorCriticPolicy, actor: Sequence[Spec], critic: Sequence[Spec], masked: bool = False
    ) -> None:
        super().__init__(policy, masked)
        hidden = [actor[:-1], critic[:-1]]
        self._stacked = len(actor) > 1 and same_shapes(*hidden)
        parts = [hidden, [actor[-1:]], [critic[-1:]]] if self._stacked else [[actor], [critic]]
        own = [policy.log_std] if hasattr(policy, "log_std") else []
        self.flat = Flat([*own, *(each for part in parts for each in parameters_of_layers(part))])
        self.parameters = [self.flat.values]
        self._acting, self._judging = Dense([actor], self.flat), Dense([critic], self.flat)
        self._parts = [Dense(part, self.flat) for part in parts]
        self._log_std, self._d_log_std = None, None
        if own:
            self._log_std, self._d_log_std = policy.log_std.data, self.flat.gradient_of(policy.log_std)
        self._with_gradient = cast(WithGradient, self.distribution)
        self._kept: Any = None

    @classmethod
    def of(cls, policy: ActorCriticPolicy, masked: bool = False) -> DenseActorCritic | str:
        """It, or why a policy is none for it."""
        layers = plain_layers(policy, masked)
        return layers if isinstance(layers, str) else cls(policy, *layers, masked)

    @property
    def log_std(self) -> Tensor | None:
        return self._log_std

    def quick(self, rows: int) -> Callable[[Any, np.ndarray], np.ndarray] | None:
        head_of, draw = Quick.of(self._acting, rows), self.distribution.draw
        if head_of is None:  # such as on a GPU
            return None
        log_std = None if self._log_std is None else self._log_std.numpy()
        if self.masked:
            return lambda seen, noise: draw(allowed(head_of(seen["obs"]), seen["mask"]), log_std, noise)
        return lambda obs, noise: draw(head_of(obs), log_std, noise)

    def _actor(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self._acting.infer(features), features

    def _critic(self, features: Tensor) -> Tensor:
        return self._judging.infer(features).flatten()

    def evaluate(self, obs: Any, action: Tensor) -> Evaluated:
        obs, mask = self.without_mask(obs)
        features = self._features(obs)[0]
        if self._stacked:
            hidden, head_of, value_of = self._parts
            latent = hidden.forward(features)
            head, value = head_of.forward(latent[:1])[0], value_of.forward(latent[1:])
        else:
            head, value = (part.forward(features)[0] for part in self._parts)
        head = allowed(head, mask)  # what is forbidden has a probability of 0, and so its logit a gradient of 0
        log_prob, entropy, self._kept = self._with_gradient.forward(head, self._log_std, action)
        return Evaluated(log_prob, value.flatten(), entropy)

    def backward(self, slope: Slope) -> None:
        kept, self._kept = self._kept, None
        d_head, d_log_std = self._with_gradient.gradient(kept, slope.log_prob, slope.entropy)
        if d_log_std is not None and self._d_log_std is not None:
            self._d_log_std.copy_(d_log_std)
        d_head, d_value = d_head.unsqueeze(0), slope.value.view(1, -1, 1)
        if self._stacked:
            hidden, head_of, value_of = self._parts
            upper = [head_of.backward(d_head, inputs=True), value_of.backward(d_value, inputs=True)]
            hidden.backward(torch.cat(upper))
        else:
            for part, slope_of in zip(self._parts, (d_head, d_value), strict=True):
                part.backward(slope_of)
        self.flat.show_gradient()


def plain_layers(policy: ActorCriticPolicy, masked: bool = False) -> tuple[list[Spec], list[Spec]] | str:
    """The layers of a policy's actor and critic, or why they are not plain perceptrons."""
    plain = ActorCritic(policy, masked)
    if isinstance(plain.distribution, StateDependentNoise):
        return "model.use_sde: true"
    if not isinstance(policy.observation_space, spaces.Box) or not plain.is_plain:
        return "it takes no flat observations, or changes them"
    extractor = policy.mlp_extractor
    if type(extractor) is not MlpExtractor:
        return f"{type(extractor).__name__} is not stable-baselines3's MlpExtractor"
    actor = layers_of([extractor.policy_net, policy.action_net])
    critic = layers_of([extractor.value_net, policy.value_net])
    if actor is None or critic is None:
        return "it has layers other than linear ones and the usual activations"
    known = {id(each) for layers in (actor, critic) for each in parameters_of_layers([layers])}
    known |= {id(getattr(policy, "log_std", None))}
    if not {id(each) for each in policy.parameters()} <= known:
        return "it has parameters of its own"
    return actor, critic
