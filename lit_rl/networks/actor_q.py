"""stable-baselines3's actors for off-policy learning as functions of observation and noise.

Shapes: B a batch, A action dimensions, H width of the last hidden layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.distributions import StateDependentNoiseDistribution
from stable_baselines3.sac.policies import Actor
from torch import Tensor

from lit_rl.networks.compiled import compiled
from lit_rl.ops.distributions import StateDependentNoise
from lit_rl.ops.squashed import squashed_log_prob, squashed_sample


class SquashedActor:
    """SAC's policy: a Gaussian through tanh, its deviation from the network or from gSDE. Actions lie in [-1, 1].

    Args:
        actor: the network.
    """

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        theirs = actor.action_dist
        self.sde: StateDependentNoise | None = None
        if isinstance(theirs, StateDependentNoiseDistribution):
            assert theirs.latent_sde_dim is not None
            self.sde = StateDependentNoise(
                theirs.action_dim, theirs.latent_sde_dim, theirs.full_std, theirs.use_expln, squash=True,
                epsilon=theirs.epsilon, learn_features=True,
            )  # fmt: skip
        self._dim = int(np.prod(actor.action_space.shape or ()))
        self._out: tuple[Tensor, Tensor] | None = None
        self._learn: Callable[..., Any] = actor.get_action_dist_params

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Of the noise of one action."""
        return (self._dim,) if self.sde is None else self.sde.noise_shape

    def mode(self, obs: Any) -> Tensor:
        """The most likely actions [B, A]."""
        return torch.tanh(self._actor.get_action_dist_params(obs)[0])

    def sample(self, obs: Any, noise: Tensor) -> Tensor:
        """Actions [B, A] drawn with noise [B, *noise_shape]."""
        mean, log_std, more = self._actor.get_action_dist_params(obs)
        if self.sde is not None:
            return self.sde.sample(mean, log_std, more["latent_sde"], noise)
        return squashed_sample(mean, log_std.exp(), noise)

    def compile(self) -> None:
        """Let torch.compile make what `sample_log_prob` calls."""
        self._learn = compiled(self._actor.get_action_dist_params)

    def sample_log_prob(self, obs: Any, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The same with their log-probabilities [B] (Haarnoja et al. 2018, arXiv:1801.01290, appendix C).

        With gSDE one matrix of noise [H, A] serves the whole batch, as in stable-baselines3.
        """
        mean, log_std, more = self._learn(obs)
        if self.sde is not None:
            latent = more["latent_sde"]
            action = torch.tanh(mean + latent @ (noise * self.sde.std(log_std)))
            return action, self.sde.log_prob_entropy(mean, log_std, latent, action)[0]
        action = squashed_sample(mean, log_std.exp(), noise)
        return action, squashed_log_prob(action, log_std, noise)[0]

    def forward(self, obs: Any, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Those of `sample_log_prob`, from which `backward` goes on."""
        with torch.enable_grad():
            action, log_prob = self.sample_log_prob(obs, noise)
            self._out = action.float(), log_prob.float()
        return self._out[0].detach(), self._out[1].detach()

    @torch.no_grad()
    def infer(self, obs: Any, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The same, of which nothing is kept."""
        return self.sample_log_prob(obs, noise)

    def backward(self, d_action_BA: Tensor, d_log_prob: float) -> None:
        """Leave the gradient of the parameters in them.

        Args:
            d_action_BA: that of the actions.
            d_log_prob: that of every log-probability.
        """
        assert self._out is not None
        (action, log_prob), self._out = self._out, None
        torch.autograd.backward([action, log_prob], [d_action_BA, torch.full_like(log_prob, d_log_prob)])


def automatic_entropy(shape: tuple[int, ...]) -> float:
    """SAC's target entropy: minus the number of action dimensions (Haarnoja et al. 2018, arXiv:1812.05905)."""
    return -float(math.prod(shape))
