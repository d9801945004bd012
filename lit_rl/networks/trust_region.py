"""An actor that moves as one vector within a region of trust, and a critic apart from it with an optimizer.

Shapes: B a batch, P numbers of the actor's parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from lit_rl.data.rollout import batch_of
from lit_rl.networks.actor_critic import ActorCritic, Slope
from lit_rl.networks.dense import Dense, Spec, parameters_of_layers
from lit_rl.networks.dense_actor_critic import plain_layers
from lit_rl.networks.flat import Flat
from lit_rl.networks.quick import Quick
from lit_rl.ops.divergence import Outputs, curvature, divergence
from lit_rl.ops.tree import tree_map


class Around:
    """What is known of a policy around where it stands, for a batch of observations and actions; by autograd.

    Args:
        net: the policy.
        obs, action: [B, ...].
    """

    def __init__(self, net: TrustRegion, obs: Any, action: Tensor) -> None:
        self._net, self._obs, self._action = net, obs, action
        head, latent = net.actor(obs)
        now = Outputs(head, net.log_std, latent)
        self.old = now.kept()
        self._log_prob = self._log_prob_of(now)
        self.log_prob = self._log_prob.detach()
        """[B], of the actions."""
        mean = divergence(net.distribution, now, self.old).mean()
        self._first = self._derivative(mean, create_graph=True)

    def _log_prob_of(self, outputs: Outputs) -> Tensor:
        return self._net.distribution.log_prob_entropy(*outputs, self._action)[0]

    def gradient(self, d_log_prob: Tensor) -> Tensor:
        """The gradient [P] of something that depends on the log-probabilities, for its slope [B] to each."""
        return self._derivative(self._log_prob, d_log_prob)

    def curvature(self, direction: Tensor) -> Tensor:
        """The second derivative of the mean divergence from here, times a direction [P]."""
        return self._derivative(self._first @ direction)

    @torch.no_grad()
    def there(self) -> tuple[Tensor, Tensor]:
        """Log-probabilities and divergences from here, [B], where the policy stands now."""
        head, latent = self._net.actor(self._obs)
        now = Outputs(head, self._net.log_std, latent)
        return self._log_prob_of(now), divergence(self._net.distribution, now, self.old)

    def _derivative(self, of: Tensor, slope: Tensor | None = None, create_graph: bool = False) -> Tensor:
        found = torch.autograd.grad(
            of, self._net.actor_parameters, slope, retain_graph=True, create_graph=create_graph, materialize_grads=True
        )
        return torch.cat([each.flatten() for each in found])


class TrustRegion(ActorCritic):
    """`ActorCritic` in two: `parameters` are the critic's alone, those that the actor does without."""

    def __init__(self, policy: ActorCriticPolicy) -> None:
        super().__init__(policy)
        self.actor_parameters = behind_actions(ActorCritic(policy))
        known = {id(each) for each in self.actor_parameters}
        self.parameters = [each for each in policy.parameters() if each.requires_grad and id(each) not in known]
        self._value: Tensor | None = None

    # -- the actor -----------------------------------------------------------------------------------------------

    def around(self, obs: Any, action: Tensor) -> Around:
        """What is known of the policy where it stands."""
        return Around(self, obs, action)

    def position(self) -> Tensor:
        """The actor's parameters, [P]."""
        return torch.cat([each.detach().flatten() for each in self.actor_parameters])

    @torch.no_grad()
    def move_to(self, position: Tensor) -> None:
        """Let them be these, [P]."""
        for parameter, part in zip(self.actor_parameters, self._split(position), strict=True):
            parameter.copy_(part)

    def noise(self, rng: np.random.Generator) -> Tensor:
        """Standard normal numbers for the actor's parameters, [P]."""
        count = sum(each.numel() for each in self.actor_parameters)
        return torch.tensor(rng.standard_normal(count, dtype=np.float32), device=self.actor_parameters[0].device)

    def _split(self, numbers: Tensor) -> list[Tensor]:
        """Numbers in the order of the actor's parameters as parts of their shapes."""
        parts = torch.split(numbers, [each.numel() for each in self.actor_parameters])
        return [part.view_as(each) for part, each in zip(parts, self.actor_parameters, strict=True)]

    # -- the critic ----------------------------------------------------------------------------------------------

    def judge(self, obs: Any) -> Tensor:
        """Values [B], whose slope `backward` takes."""
        self._value = self.critic(obs)
        return self._value.detach()

    def backward(self, slope: Slope) -> None:
        """Leave the gradient of a loss in the critic's parameters, for its slope to the values of the last `judge`."""
        assert self._value is not None
        value, self._value = self._value, None
        torch.autograd.backward(value, slope.value, inputs=list(self.parameters))


def behind_actions(net: ActorCritic) -> list[nn.Parameter]:
    """Parameters on which the probabilities of actions depend, in the policy's order."""
    policy, training = net.policy, net.policy.training
    policy.train(False)
    obs = tree_map(lambda part: part.to(policy.device), batch_of(policy.observation_space, 1))
    head, latent = net.actor(obs)
    log_prob, _ = net.distribution.log_prob_entropy(head, net.log_std, latent, net.distribution.mode(head.detach()))
    trained = [each for each in policy.parameters() if each.requires_grad]
    found = torch.autograd.grad(log_prob.sum(), trained, allow_unused=True)
    policy.train(training)
    return [parameter for parameter, gradient in zip(trained, found, strict=True) if gradient is not None]


class DenseAround(Around):
    """The same by hand, for plain perceptrons."""

    _net: DenseTrustRegion

    def __init__(self, net: DenseTrustRegion, obs: Any, action: Tensor) -> None:
        self._net, self._obs, self._action = net, obs, action
        self._actor = Dense([net.layers], net.actor_flat)  # with memory of its own for what `forward` keeps
        head = self._actor.forward(net.features(obs))[0].clone()
        self.old = Outputs(head, net.log_std, head).kept()
        self.log_prob, _, self._kept = net.with_gradient.forward(head, net.log_std, action)

    def gradient(self, d_log_prob: Tensor) -> Tensor:
        return self._backward(*self._net.with_gradient.gradient(self._kept, d_log_prob, 0.0))

    def curvature(self, direction: Tensor) -> Tensor:
        net, part = self._net, self._net.actor_flat.part
        moved = [(part(direction, each.linear.weight), part(direction, each.linear.bias)) for each in net.layers]
        own = None if net.log_std is None else part(direction, net.log_std_parameter)
        return self._backward(*curvature(net.distribution, self.old, self._actor.tangent(moved), own))

    def _backward(self, d_head: Tensor, d_log_std: Tensor | None) -> Tensor:
        flat = self._net.actor_flat
        self._actor.backward(d_head.unsqueeze(0))
        if d_log_std is not None:
            flat.gradient_of(self._net.log_std_parameter).copy_(d_log_std)
        return flat.gradient.clone()


class DenseTrustRegion(TrustRegion):
    """`TrustRegion` for networks that `plain_layers` knows. P here has zeros between the parameters.

    Args:
        policy: whose parameters come to lie in two flat tensors.
        actor, critic: the layers of each, the last of which gives head and value.
    """

    def __init__(self, policy: ActorCriticPolicy, actor: Sequence[Spec], critic: Sequence[Spec]) -> None:
        super().__init__(policy)
        own = [policy.log_std] if hasattr(policy, "log_std") else []
        self.log_std_parameter, self.layers = next(iter(own), None), actor
        self.actor_flat, self.flat = Flat([*own, *parameters_of_layers([actor])]), Flat(parameters_of_layers([critic]))
        self.parameters = [self.flat.values]
        self._acting, self._judging = Dense([actor], self.actor_flat), Dense([critic], self.flat)
        self._log_std = policy.log_std.data if own else None
        self.with_gradient: Any = self.distribution

    @classmethod
    def of(cls, policy: ActorCriticPolicy) -> Self | str:
        """It, or why a policy is none for it."""
        layers = plain_layers(policy)
        return layers if isinstance(layers, str) else cls(policy, *layers)

    @property
    def log_std(self) -> Tensor | None:
        return self._log_std

    def features(self, obs: Any) -> Tensor:
        """What the first layer takes, [B, I]."""
        return self._features(obs)[0]

    def quick(self, rows: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
        head_of, draw = Quick.of(self._acting, rows), self.distribution.draw
        if head_of is None:
            return None
        log_std = None if self._log_std is None else self._log_std.numpy()
        return lambda obs, noise: draw(head_of(obs), log_std, noise)

    def _actor(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self._acting.infer(features), features

    def _critic(self, features: Tensor) -> Tensor:
        return self._judging.infer(features).flatten()

    def around(self, obs: Any, action: Tensor) -> Around:
        return DenseAround(self, obs, action)

    def position(self) -> Tensor:
        return self.actor_flat.values.detach().clone()

    @torch.no_grad()
    def move_to(self, position: Tensor) -> None:
        self.actor_flat.values.copy_(position)

    def noise(self, rng: np.random.Generator) -> Tensor:
        found = torch.zeros_like(self.actor_flat.values.data)
        for parameter, part in zip(self.actor_parameters, self._split(super().noise(rng)), strict=True):
            self.actor_flat.part(found, parameter).copy_(part)
        return found

    def judge(self, obs: Any) -> Tensor:
        return self._judging.forward(self.features(obs))[0].flatten()

    def backward(self, slope: Slope) -> None:
        self._judging.backward(slope.value.view(1, -1, 1))
        self.flat.show_gradient()
