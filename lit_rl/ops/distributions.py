"""Action distributions as functions of the network's outputs, for the hot paths.

They compute what stable-baselines3's distribution objects compute, without building those objects, and they take
their noise as an argument: noise belongs to the environments (`ops.streams`), so that an action depends on nothing
but the weights, the observation and the environment's own stream.

Shapes: B batch, A action dimensions, L sum of logits over discrete parts, H width of the last policy layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor

LOG_2PI = math.log(2.0 * math.pi)


class ActionDistribution(Protocol):
    """How a policy's output (`head`, the output of SB3's `action_net`) becomes an action.

    `extra` is the policy's `log_std` where it has one. `latent` is the input of `action_net`, used by gSDE only.
    """

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise of one action."""

    def noise(self, rng: np.random.Generator, steps: int) -> np.ndarray:
        """Noise of one environment for `steps` actions: float32 [steps, *noise_shape]."""

    def sample(self, head: Tensor, extra: Tensor | None, latent: Tensor, noise: Tensor) -> Tensor:
        """An action for every row, drawn with `noise` [B, *noise_shape]."""

    def mode(self, head: Tensor) -> Tensor:
        """The most likely action."""

    def draw(self, head: np.ndarray, extra: np.ndarray | None, noise: np.ndarray) -> np.ndarray:
        """What `sample` gives, in NumPy."""

    def log_prob_entropy(
        self, head: Tensor, extra: Tensor | None, latent: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Log-probability [B] of the actions and the entropy [B], `None` where it has no closed form."""


class WithGradient(ActionDistribution, Protocol):
    """One whose log-probability and entropy depend on `head` and `extra` in a way that is derived here."""

    def forward(self, head: Tensor, extra: Tensor | None, action: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Those of `log_prob_entropy`, and what `gradient` needs of them."""

    def gradient(self, kept: Any, d_log_prob: Tensor, d_entropy: float) -> tuple[Tensor, Tensor | None]:
        """The gradient of something that depends on log-probabilities and entropies.

        Args:
            kept: by `forward`.
            d_log_prob: its gradient with respect to every log-probability, [B].
            d_entropy: its gradient with respect to every entropy, one number for all.

        Returns:
            its gradients with respect to `head` and `extra`.
        """


@dataclass(frozen=True)
class Categorical:
    """Discrete(n). Sampled by the Gumbel-max trick: ``argmax(logits + g)``."""

    n: int

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (self.n,)

    def noise(self, rng: np.random.Generator, steps: int) -> np.ndarray:
        return rng.gumbel(size=(steps, self.n)).astype(np.float32)

    def sample(self, head: Tensor, extra: Tensor | None, latent: Tensor, noise: Tensor) -> Tensor:
        return torch.argmax(head + noise, dim=1)

    def draw(self, head: np.ndarray, extra: np.ndarray | None, noise: np.ndarray) -> np.ndarray:
        chosen: np.ndarray = np.argmax(head + noise, axis=1)
        return chosen

    def mode(self, head: Tensor) -> Tensor:
        return torch.argmax(head, dim=1)

    def log_prob_entropy(
        self, head: Tensor, extra: Tensor | None, latent: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        log_prob, entropy, _ = self.forward(head, extra, action)
        return log_prob, entropy

    def forward(self, head: Tensor, extra: Tensor | None, action: Tensor) -> tuple[Tensor, Tensor, Any]:
        log_prob, entropy, kept = _logits(head, action.long().view(-1, 1))
        return log_prob, entropy, kept

    def gradient(self, kept: Any, d_log_prob: Tensor, d_entropy: float) -> tuple[Tensor, Tensor | None]:
        return _logits_gradient(kept, d_log_prob.unsqueeze(1), d_entropy), None


_OfLogits = tuple[Tensor, Tensor, Tensor, Tensor]
"""Actions [B, 1], log-probabilities and probabilities of all [B, N], and entropies [B]."""


def _logits(logits_BN: Tensor, action_B1: Tensor) -> tuple[Tensor, Tensor, _OfLogits]:
    log_p = F.log_softmax(logits_BN, dim=1)
    p = log_p.exp()
    entropy = (p * log_p).sum(dim=1).neg()
    return log_p.gather(1, action_B1).squeeze(1), entropy, (action_B1, log_p, p, entropy)


def _logits_gradient(kept: _OfLogits, d_log_prob_B1: Tensor, d_entropy: float) -> Tensor:
    """``d log p(a) / d logits = onehot(a) - p``, and ``d H / d logits = -p (log p + H)``."""
    action, log_p, p, entropy = kept
    gradient = (p * -d_log_prob_B1).scatter_add_(1, action, d_log_prob_B1)
    if d_entropy != 0.0:
        gradient.addcmul_(p, log_p + entropy.unsqueeze(1), value=-d_entropy)
    return gradient


@dataclass(frozen=True)
class MultiCategorical:
    """MultiDiscrete(nvec): independent categoricals, their logits side by side."""

    nvec: tuple[int, ...]

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (sum(self.nvec),)

    def noise(self, rng: np.random.Generator, steps: int) -> np.ndarray:
        return rng.gumbel(size=(steps, sum(self.nvec))).astype(np.float32)

    def sample(self, head: Tensor, extra: Tensor | None, latent: Tensor, noise: Tensor) -> Tensor:
        return self.mode(head + noise)

    def draw(self, head: np.ndarray, extra: np.ndarray | None, noise: np.ndarray) -> np.ndarray:
        parts = np.split(head + noise, np.cumsum(self.nvec)[:-1], axis=1)
        return np.stack([np.argmax(part, axis=1) for part in parts], axis=1)

    def mode(self, head: Tensor) -> Tensor:
        return torch.stack([torch.argmax(part, dim=1) for part in torch.split(head, list(self.nvec), dim=1)], dim=1)

    def log_prob_entropy(
        self, head: Tensor, extra: Tensor | None, latent: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        log_prob, entropy, _ = self.forward(head, extra, action)
        return log_prob, entropy

    def forward(self, head: Tensor, extra: Tensor | None, action: Tensor) -> tuple[Tensor, Tensor, Any]:
        parts = torch.split(head, list(self.nvec), dim=1)
        chosen = action.long().unsqueeze(2).unbind(1)
        log_probs, entropies, kept = zip(*map(_logits, parts, chosen), strict=True)
        return torch.stack(log_probs, dim=1).sum(dim=1), torch.stack(entropies, dim=1).sum(dim=1), kept

    def gradient(self, kept: Any, d_log_prob: Tensor, d_entropy: float) -> tuple[Tensor, Tensor | None]:
        each = d_log_prob.unsqueeze(1)
        return torch.cat([_logits_gradient(part, each, d_entropy) for part in kept], dim=1), None


@dataclass(frozen=True)
class Bernoulli:
    """MultiBinary(n). Sampled with logistic noise: ``logit + noise > 0``."""

    n: int

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (self.n,)

    def noise(self, rng: np.random.Generator, steps: int) -> np.ndarray:
        return rng.logistic(size=(steps, self.n)).astype(np.float32)

    def sample(self, head: Tensor, extra: Tensor | None, latent: Tensor, noise: Tensor) -> Tensor:
        return (head + noise > 0).to(torch.int64)

    def draw(self, head: np.ndarray, extra: np.ndarray | None, noise: np.ndarray) -> np.ndarray:
        drawn: np.ndarray = (head + noise > 0).astype(np.int64)
        return drawn

    def mode(self, head: Tensor) -> Tensor:
        return (head > 0).to(torch.int64)  # SB3 rounds the probability: one half goes to the even number, 0

    def log_prob_entropy(
        self, head: Tensor, extra: Tensor | None, latent: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        log_prob, entropy, _ = self.forward(head, extra, action)
        return log_prob, entropy

    def forward(self, head: Tensor, extra: Tensor | None, action: Tensor) -> tuple[Tensor, Tensor, Any]:
        log_prob = -F.binary_cross_entropy_with_logits(head, action.to(head.dtype), reduction="none")
        p = torch.sigmoid(head)
        entropy = F.binary_cross_entropy_with_logits(head, p, reduction="none")
        return log_prob.sum(dim=1), entropy.sum(dim=1), (head, action, p)

    def gradient(self, kept: Any, d_log_prob: Tensor, d_entropy: float) -> tuple[Tensor, Tensor | None]:
        head, action, p = kept  # d log p(a) / d logit = a - p, and d H / d logit = -logit p (1 - p)
        gradient = d_log_prob.unsqueeze(1) * (action.to(head.dtype) - p)
        if d_entropy != 0.0:
            gradient.addcmul_(head * p, 1.0 - p, value=-d_entropy)
        return gradient, None


@dataclass(frozen=True)
class DiagonalGaussian:
    """Box: independent normals with a learned standard deviation that does not depend on the observation."""

    dim: int

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    def noise(self, rng: np.random.Generator, steps: int) -> np.ndarray:
        return rng.standard_normal((steps, self.dim), dtype=np.float32)

    def sample(self, head: Tensor, extra: Tensor | None, latent: Tensor, noise: Tensor) -> Tensor:
        assert extra is not None
        return torch.addcmul(head, noise, extra.exp())

    def draw(self, head: np.ndarray, extra: np.ndarray | None, noise: np.ndarray) -> np.ndarray:
        assert extra is not None
        drawn: np.ndarray = head + noise * np.exp(extra)
        return drawn

    def mode(self, head: Tensor) -> Tensor:
        return head

    def log_prob_entropy(
        self, head: Tensor, extra: Tensor | None, latent: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        log_prob, entropy, _ = self.forward(head, extra, action)
        return log_prob, entropy

    def forward(self, head: Tensor, extra: Tensor | None, action: Tensor) -> tuple[Tensor, Tensor, Any]:
        assert extra is not None
        inverse = torch.exp(-extra)
        z = (action - head) * inverse
        log_std_sum = extra.sum()
        log_prob = torch.add(-0.5 * LOG_2PI * self.dim - log_std_sum, z.square().sum(dim=1), alpha=-0.5)
        entropy = log_std_sum + 0.5 * (1.0 + LOG_2PI) * self.dim
        return log_prob, entropy.expand(head.shape[0]), (z, inverse)

    def gradient(self, kept: Any, d_log_prob: Tensor, d_entropy: float) -> tuple[Tensor, Tensor | None]:
        (z, inverse), each = kept, d_log_prob.unsqueeze(1)
        # d log p / d mean = z / std, d log p / d log std = z^2 - 1, and d H / d log std = 1
        weighted = each * z
        d_extra = (weighted * z).sum(dim=0) - each.sum()
        if d_entropy != 0.0:
            d_extra += d_entropy * len(z)
        return weighted * inverse, d_extra


@dataclass(frozen=True)
class StateDependentNoise:
    """Generalised state-dependent exploration, gSDE (Raffin et al. 2021, arXiv:2005.05719).

    The noise of an action is ``latent @ (std * E)`` with a matrix ``E`` of standard normals that an environment keeps
    for a whole rollout, or for `sde_sample_freq` steps. Squashed with tanh if `squash`.
    """

    dim: int
    latent_dim: int
    full_std: bool = True
    use_expln: bool = False
    squash: bool = False
    epsilon: float = 1e-6
    learn_features: bool = False
    """Whether the features that noise depends on are trained by it (SAC); not those that a policy shares (PPO, A2C)."""

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (self.latent_dim, self.dim)

    def noise(self, rng: np.random.Generator, steps: int) -> np.ndarray:
        return rng.standard_normal((steps, self.latent_dim, self.dim), dtype=np.float32)

    def std(self, log_std: Tensor) -> Tensor:
        """Standard deviation of every weight of the noise matrix, [H, A]."""
        if self.use_expln:
            below = torch.exp(log_std) * (log_std <= 0)
            safe = log_std * (log_std > 0) + self.epsilon
            std = below + (torch.log1p(safe) + 1.0) * (log_std > 0)
        else:
            std = torch.exp(log_std)
        return std if self.full_std else std.expand(self.latent_dim, self.dim)

    def sample(self, head: Tensor, extra: Tensor | None, latent: Tensor, noise: Tensor) -> Tensor:
        assert extra is not None
        matrix = noise * self.std(extra)
        action = head + torch.bmm(latent.unsqueeze(1), matrix).squeeze(1)
        return torch.tanh(action) if self.squash else action

    def draw(self, head: np.ndarray, extra: np.ndarray | None, noise: np.ndarray) -> np.ndarray:
        raise NotImplementedError("a policy with gSDE acts in torch")

    def mode(self, head: Tensor) -> Tensor:
        return torch.tanh(head) if self.squash else head

    def log_prob_entropy(
        self, head: Tensor, extra: Tensor | None, latent: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        variance = self.variance(extra, latent)
        gaussian = action
        if self.squash:
            limit = 1.0 - torch.finfo(action.dtype).eps
            gaussian = torch.atanh(action.clamp(-limit, limit))
        log_prob = -0.5 * ((gaussian - head).square() / variance + torch.log(variance) + LOG_2PI)
        log_prob = log_prob.sum(dim=1)
        if self.squash:
            log_prob = log_prob - torch.log(1.0 - torch.tanh(gaussian).square() + self.epsilon).sum(dim=1)
            return log_prob, None
        entropy = (0.5 + 0.5 * LOG_2PI + 0.5 * torch.log(variance)).sum(dim=1)
        return log_prob, entropy

    def variance(self, extra: Tensor | None, latent: Tensor) -> Tensor:
        """Of each action before it is squashed, [B, A]."""
        assert extra is not None
        features = latent if self.learn_features else latent.detach()
        return torch.mm(features.square(), self.std(extra).square()) + self.epsilon


def for_action_space(space: spaces.Space[Any]) -> ActionDistribution:
    """The distribution SB3 uses for `space`, without gSDE."""
    if isinstance(space, spaces.Box):
        return DiagonalGaussian(int(np.prod(space.shape)))
    if isinstance(space, spaces.Discrete):
        return Categorical(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return MultiCategorical(tuple(int(n) for n in space.nvec))
    if isinstance(space, spaces.MultiBinary):
        return Bernoulli(int(np.prod(space.shape)))
    raise TypeError(f"no action distribution for {space}")
