"""SB3's actor-critic policies on the hot path: their own submodules, without their distribution objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import StateDependentNoiseDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor, NatureCNN
from torch import Tensor, nn

from lit_rl.errors import ConfigError
from lit_rl.networks.compiled import compiled
from lit_rl.ops.distributions import (
    ActionDistribution,
    Bernoulli,
    MultiCategorical,
    StateDependentNoise,
    for_action_space,
)
from lit_rl.ops.tree import tree_map

_CHUNK = 4096
"""Observations in one forward pass when values of a whole rollout are computed."""
_CHUNK_OF_IMAGES = 256
"""The same for images: of more of them, what lies between the layers leaves the processor's caches."""
_FORBIDDEN = -1e8
"""As sb3-contrib's: a probability of 0, and no infinity."""
_NOT_CALLED = (
    "forward",
    "evaluate_actions",
    "get_distribution",
    "predict_values",
    "_get_action_dist_from_latent",
)


@dataclass
class Evaluated:
    """What a loss is made of: log-probabilities [B] of actions that were taken, values [B], and entropies [B].

    The entropy is `None` where it has no closed form.
    """

    log_prob: Tensor
    value: Tensor
    entropy: Tensor | None


@dataclass
class Slope:
    """The gradient of a loss with respect to what it is made of.

    Args:
        log_prob: to each log-probability, [B].
        value: to each value, [B].
        entropy: to every entropy, one number for all.
    """

    log_prob: Tensor
    value: Tensor
    entropy: float = 0.0

    def times(self, factor: float) -> Slope:
        """That of the loss times a number."""
        if factor == 1.0:
            return self
        return replace(self, log_prob=self.log_prob * factor, value=self.value * factor, entropy=self.entropy * factor)


class ActorCritic:
    """What the training loops ask of an `ActorCriticPolicy`. Holds no state of its own, but for the last `evaluate`.

    Shapes: B batch, H width of the last policy layer. `head` is the output of `action_net`: logits or means.

    With masks, observations are those of `with_mask`.

    Args:
        policy: stable-baselines3's, or sb3-contrib's of the same build.
        masked: whether observations come with the actions that are allowed.

    Raises:
        ConfigError: the policy class replaces a method that the loops do not call, so its change would go unnoticed.
    """

    def __init__(self, policy: ActorCriticPolicy, masked: bool = False) -> None:
        for name in _NOT_CALLED:
            if not _is_theirs(getattr(type(policy), name)):
                raise ConfigError(
                    f"model.policy: {type(policy).__name__} replaces {name}(), which is not called here: change "
                    "extract_features(), the features extractor or mlp_extractor instead."
                )
        self.policy = policy
        self.masked = masked
        self.distribution = action_distribution(policy)
        if masked and isinstance(self.distribution, Bernoulli):
            raise ConfigError(
                "env.action_masks: for MultiBinary actions a policy needs logits for 0 and for 1 of each; those of "
                "MaskablePPO have them."
            )
        self.parameters: Sequence[Tensor] = list(policy.parameters())
        """What the optimizer moves, and `backward` leaves the gradient of."""
        self._evaluated: Evaluated | None = None
        self._whole = self.actor_critic
        space = policy.observation_space
        self.is_plain = (
            isinstance(space, spaces.Box)
            and not is_image_space(space)
            and type(policy.features_extractor) is FlattenExtractor
            and policy.share_features_extractor
            and _is_theirs(type(policy).extract_features)
        )
        self.is_cnn = type(policy.features_extractor) is NatureCNN
        """Whether it looks at images with SB3's own CNN, which takes them in any order of memory."""
        self._feeds_cnn = self.is_cnn and _is_theirs(type(policy).extract_features)
        self._scales = bool(policy.normalize_images) and is_image_space(space)
        self._mlp = type(policy.mlp_extractor) is MlpExtractor

    @property
    def log_std(self) -> Tensor | None:
        return getattr(self.policy, "log_std", None)

    def compile(self) -> None:
        """Let torch.compile make what `evaluate` calls."""
        self._whole = compiled(self.actor_critic)

    def quick(self, rows: int) -> Callable[[Any, np.ndarray], np.ndarray] | None:
        """What gives actions [N, ...] for observations and noise [N, ...] of so many rows; `None` if torch has to."""
        return None

    def room_for_features(self, steps: int, n_envs: int) -> Tensor | None:
        """For what a CNN makes of a rollout's images as one acts, [T, N, F]: values need no second pass through it.

        `None` where actor and critic have a CNN each, or none, and with mixed precision: actions are chosen in float32
        then, and values are not.
        """
        policy, device = self.policy, self.policy.device
        shared = self._feeds_cnn and policy.share_features_extractor
        if not shared or torch.is_autocast_enabled(device.type):
            return None
        return torch.empty(steps, n_envs, policy.features_dim, device=device)

    def _features(self, obs: Any) -> tuple[Tensor, Tensor]:
        if self.is_plain:
            features = obs.float().flatten(1)
            return features, features
        if self._feeds_cnn:
            return self._features_of_images(obs)
        features = self.policy.extract_features(obs)
        if isinstance(features, tuple):
            return features
        return features, features

    def _features_of_images(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """What SB3's CNN makes of images as SB3 gives them to it, with less memory gone through on the way."""
        policy, images = self.policy, obs.float()
        if self._scales:  # whole numbers, of which `images` is a copy
            images.div_(255.0)
        if torch.is_grad_enabled() and obs.device.type == "cpu":
            images = images.contiguous(memory_format=torch.channels_last)  # the gradient takes two thirds of the time
        if policy.share_features_extractor:
            features = call(policy.features_extractor, images)
            return features, features
        return call(policy.pi_features_extractor, images), call(policy.vf_features_extractor, images)

    def actor(self, obs: Any, room: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Head and latent [B, H] for a batch of observations.

        Args:
            obs: the observations.
            room: where their features [B, F] are left.
        """
        obs, mask = self.without_mask(obs)
        features = self._features(obs)[0]
        if room is not None:
            room.copy_(features)
        head, latent = self._actor(features)
        return allowed(head, mask), latent

    def critic(self, obs: Any) -> Tensor:
        """Values [B]."""
        return self._critic(self._features(self.without_mask(obs)[0])[1])

    def actor_critic(self, obs: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Head, latent [B, H] and values [B], the features computed once."""
        obs, mask = self.without_mask(obs)
        return self._both(*self._features(obs), mask)

    def _both(self, pi_features: Tensor, vf_features: Tensor, mask: Any) -> tuple[Tensor, Tensor, Tensor]:
        head, latent = self._actor(pi_features)
        return allowed(head, mask), latent, self._critic(vf_features)

    def values_and_log_probs(self, obs: Any, action: Tensor) -> tuple[Tensor, Tensor]:
        """Values and log-probabilities [B] of actions taken for observations, however many there are, on the CPU."""
        chunk = _CHUNK_OF_IMAGES if self.is_cnn else _CHUNK
        return self._in_chunks(lambda rows: self.actor_critic(tree_map(lambda part: part[rows], obs)), action, chunk)

    def values_and_log_probs_of(self, features: Tensor, obs: Any, action: Tensor) -> tuple[Tensor, Tensor]:
        """The same for observations whose features [B, F] are known; of these only the masks are looked at."""
        mask = self.without_mask(obs)[1]
        mask = None if mask is None else mask.to(features.device)

        def judged(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
            return self._both(features[rows], features[rows], None if mask is None else mask[rows])

        return self._in_chunks(judged, action, _CHUNK)

    def _in_chunks(
        self, judged: Callable[[slice], tuple[Tensor, Tensor, Tensor]], action: Tensor, size: int
    ) -> tuple[Tensor, Tensor]:
        values, log_probs = [], []
        for start in range(0, len(action), size):
            rows = slice(start, start + size)
            head, latent, value = judged(rows)
            values.append(value)
            log_probs.append(self.distribution.log_prob_entropy(head, self.log_std, latent, action[rows])[0])
        return torch.cat(values).float().cpu(), torch.cat(log_probs).float().cpu()

    def without_mask(self, obs: Any) -> tuple[Any, Any]:
        """Observations and the masks that came with them; `None` where there are none."""
        return (obs["obs"], obs["mask"]) if self.masked else (obs, None)

    def evaluate(self, obs: Any, action: Tensor) -> Evaluated:
        """What losses are made of, for observations and actions [B, ...]."""
        head, latent, value = self._whole(obs)
        log_prob, entropy = self.distribution.log_prob_entropy(head, self.log_std, latent, action)
        self._evaluated = Evaluated(log_prob, value, entropy)
        return Evaluated(log_prob.detach(), value.detach(), None if entropy is None else entropy.detach())

    def backward(self, slope: Slope) -> None:
        """Leave the gradient of a loss in the parameters, for its slope at the last `evaluate`."""
        assert self._evaluated is not None
        now, self._evaluated = self._evaluated, None
        outputs, slopes = [now.log_prob, now.value], [slope.log_prob, slope.value]
        if slope.entropy != 0.0 and now.entropy is not None:
            outputs.append(now.entropy)
            slopes.append(torch.full_like(now.entropy, slope.entropy))
        torch.autograd.backward(outputs, slopes)

    def _actor(self, features: Tensor) -> tuple[Tensor, Tensor]:
        extractor = self.policy.mlp_extractor
        latent = through(extractor.policy_net, features) if self._mlp else extractor.forward_actor(features)
        return call(self.policy.action_net, latent).float(), latent.float()  # losses are computed in float32

    def _critic(self, features: Tensor) -> Tensor:
        extractor = self.policy.mlp_extractor
        latent = through(extractor.value_net, features) if self._mlp else extractor.forward_critic(features)
        return call(self.policy.value_net, latent).flatten().float()


def with_mask(obs: Any, mask: Any) -> Any:
    """Observations with the actions that are allowed, as networks that are `masked` take them.

    Args:
        obs: arrays, tensors, spaces, or dictionaries of them.
        mask: the same of the mask; `None` leaves observations as they are.
    """
    return obs if mask is None else {"obs": obs, "mask": mask}


def allowed(head: Any, mask: Any) -> Any:
    """Logits [B, L] in which what a mask [B, L] forbids has no chance; `None` forbids nothing."""
    if mask is None:
        return head
    if isinstance(head, np.ndarray):
        return np.where(mask, head, _FORBIDDEN)
    return torch.where(mask, head, _FORBIDDEN)


def _is_theirs(method: Any) -> bool:
    return str(getattr(method, "__module__", "")).startswith(("stable_baselines3.", "sb3_contrib."))


def through(layers: nn.Sequential, x: Tensor) -> Tensor:
    """`x` passed through layer after layer."""
    for layer in layers._modules.values():
        assert layer is not None
        x = call(layer, x)
    return x


def call(layer: nn.Module, x: Tensor) -> Tensor:
    """``layer(x)``, by its `forward` where it has no hooks: for a small layer a module's call costs as much again."""
    hooked = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    result: Tensor = layer(x) if hooked else layer.forward(x)
    return result


def action_distribution(policy: ActorCriticPolicy) -> ActionDistribution:
    """The distribution that computes what the policy's own distribution object computes."""
    theirs = policy.action_dist
    if isinstance(theirs, StateDependentNoiseDistribution):
        assert theirs.latent_sde_dim is not None
        return StateDependentNoise(
            dim=theirs.action_dim,
            latent_dim=theirs.latent_sde_dim,
            full_std=theirs.full_std,
            use_expln=theirs.use_expln,
            squash=theirs.bijector is not None,
            epsilon=theirs.epsilon,
        )
    space, head = policy.action_space, policy.action_net
    if isinstance(space, spaces.MultiBinary) and getattr(head, "out_features", 0) == 2 * int(np.prod(space.shape)):
        return MultiCategorical((2,) * int(np.prod(space.shape)))  # sb3-contrib's maskable ones
    return for_action_space(space)


def to_env(action: Any, policy: ActorCriticPolicy) -> Any:
    """Actions as the environment takes them: Box actions clipped, or unscaled where the policy squashes its output.

    Args:
        action: NumPy array [N, A] or [N], as sampled.
        policy: the policy that chose them.
    """
    space = policy.action_space
    if isinstance(space, spaces.Box):
        action = action.reshape((-1, *space.shape))
        if policy.squash_output:
            action = policy.unscale_action(action)
        return np.minimum(np.maximum(action, space.low), space.high)  # clip() takes longer
    if isinstance(space, spaces.MultiBinary):
        return action.reshape((-1, *space.shape))
    return action


def as_tensor(obs: Any, device: torch.device) -> Any:
    """A batch of observations on the learner's device; torch allocates it, so that its alignment is always the same."""
    if isinstance(obs, dict):
        return {key: as_tensor(part, device) for key, part in obs.items()}
    if isinstance(obs, Tensor):
        return obs.to(device)
    tensor = torch.tensor(obs)
    return tensor.to(device, torch.float32 if tensor.dtype == torch.float64 else tensor.dtype)
