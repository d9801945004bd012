"""What SAC, TD3 and what derives from them share: Box actions in [-1, 1] for networks and replay, and noise on top.

Shapes: N environments, A action dimensions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from lit_rl.algorithms.off_policy import OffPolicy
from lit_rl.errors import ConfigError
from lit_rl.networks.actor_critic import as_tensor
from lit_rl.networks.tensors import Table, within
from lit_rl.ops.limits import Limit, at_least
from lit_rl.ops.noise import ActionNoise, NoiseType
from lit_rl.state.parts import Part


class Continuous(OffPolicy):
    """An actor of continuous actions and critics of them.

    Args: see `SAC`, whose settings these are too.
    """

    PARTS: ClassVar[Mapping[str, Part]] = {"noise": Part("Ornstein-Uhlenbeck noise of each environment", "rank")}
    LIMITS: ClassVar[Mapping[str, Limit]] = {"noise_std": at_least(0)}
    TENSORS: ClassVar[Table] = within("policy.", {"": "policy", "critic.": "value", "critic_target.": "value"})

    def __init__(self, noise_type: NoiseType | None, noise_std: float, *args: Any) -> None:
        super().__init__(*args)
        self.noise: ActionNoise | None = None
        self.noise_type, self.noise_std = noise_type, noise_std

    @classmethod
    def check_actions(cls, space: spaces.Space[Any]) -> None:
        if not isinstance(space, spaces.Box) or not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise ConfigError(
                f"model: {cls.__name__} is for Box actions with finite bounds; this environment has {space}."
            )

    def check_action_space(self, space: spaces.Space[Any]) -> None:
        super().check_action_space(space)
        assert isinstance(space, spaces.Box)
        self._dim = int(np.prod(space.shape))
        if self.noise_type is not None:
            own = len(self.ranks.rows(self.env_config.n_envs))
            self.noise = ActionNoise(self.noise_type, self.noise_std, own, self._dim)

    def stored_action_space(self) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (self._dim,), np.float32)

    @staticmethod
    def of_critics(policy: Any) -> list[nn.Parameter]:
        """Parameters that the critics' loss trains: not those of a features extractor that the actor's does."""
        shared = getattr(policy, "share_features_extractor", False)
        return [p for name, p in policy.critic.named_parameters() if not (shared and "features" in name)]

    def draw_exploration(self, rng: np.random.Generator, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A random action, the policy's noise and the noise on top of it: [steps, A] each."""
        uniform = rng.uniform(-1.0, 1.0, (steps, self._dim)).astype(np.float32)
        return (
            uniform,
            rng.standard_normal((steps, self._dim), dtype=np.float32),
            rng.standard_normal((steps, self._dim)),
        )

    def choose(self, drawn: Any, warmup: bool) -> tuple[np.ndarray, np.ndarray]:
        uniform, own, on_top = drawn
        scaled = uniform if warmup and self.random_warmup else self.act(own)
        if self.noise is not None:
            scaled = np.clip(scaled + self.noise(on_top), -1.0, 1.0)
        return scaled, self.unscaled(scaled)

    random_warmup = True
    """Whether actions are uniformly random until learning starts."""

    def act(self, noise_NA: np.ndarray) -> np.ndarray:
        """The policy's actions of this step, scaled, [N, A]."""
        actions: np.ndarray = self.scaled_actions(as_tensor(self.play.policy_obs, self.device), noise_NA).cpu().numpy()
        return actions

    @abstractmethod
    def scaled_actions(self, obs: Any, noise: np.ndarray | None) -> Tensor:
        """Actions in [-1, 1] for observations, the most likely ones without noise; [N, A]."""

    def unscaled(self, scaled: np.ndarray) -> np.ndarray:
        """Actions as the environment takes them: [N, *shape]."""
        space = self.action_space
        assert isinstance(space, spaces.Box)
        low, high = space.low.reshape(-1), space.high.reshape(-1)
        taken = np.minimum(np.maximum(low + 0.5 * (scaled + 1.0) * (high - low), low), high)
        shaped: np.ndarray = taken.reshape(-1, *space.shape).astype(space.dtype)
        return shaped

    def after_step(self, ended: list[int]) -> None:
        if self.noise is not None and ended:
            self.noise.reset(ended)

    @torch.no_grad()
    def policy_actions(self, policy_obs: Any, rng: np.random.Generator | None = None) -> np.ndarray:
        scaled = self._of_policy(policy_obs, rng)
        if rng is not None and self.noise_type is not None:
            on_top = self.noise_std * rng.standard_normal(scaled.shape)
            scaled = np.clip(scaled + on_top.astype(np.float32), -1.0, 1.0)
        return self.unscaled(scaled)

    @torch.no_grad()
    def sample_actions(self, policy_obs: Any, rng: np.random.Generator) -> np.ndarray:
        return self.unscaled(self._of_policy(policy_obs, rng))

    def _of_policy(self, policy_obs: Any, rng: np.random.Generator | None) -> np.ndarray:
        """Actions without noise on top, scaled, [N, A]."""
        obs = as_tensor(policy_obs, self.device)
        self.training_mode(False)
        count = len(next(iter(obs.values())) if isinstance(obs, dict) else obs)
        noise = None if rng is None else self.noise_for(rng, count)
        scaled: np.ndarray = self.scaled_actions(obs, noise).float().cpu().numpy()
        return scaled

    def noise_for(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Noise of the policy for so many observations."""
        return rng.standard_normal((count, self._dim), dtype=np.float32)
