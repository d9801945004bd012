"""Truncated quantile critics (Kuznetsov et al. 2020, arXiv:2005.04269), with sb3-contrib's settings.

Shapes: B a batch, K critics, Q quantiles of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from gymnasium import spaces
from sb3_contrib.tqc.policies import Actor, CnnPolicy, Critic, MultiInputPolicy, TQCPolicy
from torch import Tensor, nn

from lit_rl.algorithms.off_policy import TrainFreq
from lit_rl.algorithms.sac import SAC
from lit_rl.algorithms.transitions import Transitions
from lit_rl.curriculum import CurriculumConfig
from lit_rl.data.config import HindsightReplay, PrioritizedReplay
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError
from lit_rl.networks.critics import Critics, QuantileCritics
from lit_rl.networks.dense_off_policy import DenseCritics, DenseQuantileCritics
from lit_rl.ops.limits import Limit, at_least
from lit_rl.ops.noise import NoiseType
from lit_rl.ops.quantiles import quantile_huber_loss
from lit_rl.ops.schedules import ScheduleLike
from lit_rl.ops.td import td_target
from lit_rl.training.config import EvalConfig, Fast


class TQC(SAC):
    """SAC with quantiles of the return from each critic, the highest of which are left out of the targets.

    The other settings are those of `SAC`.

    Args:
        policy: `MlpPolicy`, `CnnPolicy`, `MultiInputPolicy`, or the import path of an sb3-contrib `TQCPolicy`.
        top_quantiles_to_drop_per_net: how many of the quantiles of all critics together are left out of the targets,
            times the number of critics.
        policy_kwargs: keyword arguments of the policy, as in sb3-contrib, `n_quantiles: 25` and `n_critics: 2` among
            them; classes by their import path.
    """

    POLICIES: ClassVar[Mapping[str, type[Any]]] = {
        "MlpPolicy": TQCPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    LIMITS: ClassVar[Mapping[str, Limit]] = {"top_quantiles_to_drop_per_net": at_least(0)}
    PLAIN: ClassVar[tuple[type[nn.Module], type[nn.Module]]] = (Actor, Critic)
    CRITICS: ClassVar[tuple[type[Critics], type[DenseCritics]]] = (QuantileCritics, DenseQuantileCritics)

    def __init__(
        self,
        env: EnvConfig,
        policy: str = "MlpPolicy",
        learning_rate: ScheduleLike = 3e-4,
        buffer_size: int = 1_000_000,
        learning_starts: int = 100,
        batch_size: int = 256,
        tau: float = 0.005,
        gamma: float = 0.99,
        train_freq: TrainFreq = 1,
        gradient_steps: int = 1,
        noise_type: NoiseType | None = None,
        noise_std: float = 0.1,
        n_steps: int = 1,
        prioritized_replay: bool | PrioritizedReplay = False,
        her: bool | HindsightReplay = False,
        ent_coef: float | str = "auto",
        target_update_interval: int = 1,
        target_update_per_call: bool = False,
        target_entropy: float | Literal["auto"] = "auto",
        top_quantiles_to_drop_per_net: int = 2,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        use_sde_at_warmup: bool = False,
        param_resets: list[int] | None = None,
        on_promotion: Literal["keep", "drop"] = "keep",
        fast: Fast = "auto",
        max_bad_updates: int = 10,
        cycles_per_iteration: int = 64,
        policy_kwargs: dict | None = None,  # type: ignore[type-arg]
        total_timesteps: int = 1_000_000,
        seed: int = 0,
        curriculum: CurriculumConfig | None = None,
        evaluation: EvalConfig | None = None,
    ) -> None:
        super().__init__(
            env, policy, learning_rate, buffer_size, learning_starts, batch_size, tau, gamma, train_freq,
            gradient_steps, noise_type, noise_std, n_steps, prioritized_replay, her, ent_coef, target_update_interval,
            target_update_per_call, target_entropy, use_sde, sde_sample_freq, use_sde_at_warmup, param_resets,
            on_promotion, fast, max_bad_updates, cycles_per_iteration, policy_kwargs, total_timesteps, seed, curriculum,
            evaluation,
        )  # fmt: skip
        self.top_quantiles_to_drop_per_net = top_quantiles_to_drop_per_net

    def build_actor_and_critics(self, observation_space: Any, action_space: spaces.Space[Any]) -> Any:
        policy = super().build_actor_and_critics(observation_space, action_space)
        quantiles = policy.critic.n_quantiles
        if self.top_quantiles_to_drop_per_net >= quantiles:
            raise ConfigError(
                f"model.top_quantiles_to_drop_per_net is {self.top_quantiles_to_drop_per_net}, and each critic has "
                f"{quantiles} quantiles (model.policy_kwargs.n_quantiles); leave at least one."
            )
        return policy

    def target(self, batch: Transitions, next_KB: Tensor, less_B: Tensor) -> Tensor:
        """The lower quantiles of all critics together, [B, J]."""
        critics, size, quantiles = next_KB.shape
        kept = critics * (quantiles - self.top_quantiles_to_drop_per_net)
        together = next_KB.transpose(0, 1).reshape(size, critics * quantiles)
        lowest = torch.topk(together, kept, largest=False, sorted=False).values
        return td_target(batch.reward[:, None], batch.discount[:, None], lowest - less_B[:, None])

    def critic_loss(self, value_KB: Tensor, target_B: Tensor, weight_B: Tensor | None) -> tuple[Tensor, Tensor]:
        return quantile_huber_loss(value_KB, target_B, weight_B, summed=False)

    def worth(self, value_KB: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of all quantiles."""
        critics, _, quantiles = value_KB.shape
        return value_KB.mean(dim=(0, 2)), torch.full_like(value_KB, 1.0 / (critics * quantiles))

    def prioritize(self, batch: Transitions, value: Tensor, target_B: Tensor) -> None:
        """By the means of quantiles."""
        super().prioritize(batch, value.mean(dim=2), target_B.mean(dim=1))
