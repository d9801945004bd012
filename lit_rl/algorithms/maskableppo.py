"""PPO that knows which actions are allowed (Huang and Ontanon 2020, arXiv:2006.14171), with sb3-contrib's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gymnasium import spaces
from sb3_contrib.common.maskable.policies import (
    MaskableActorCriticCnnPolicy,
    MaskableActorCriticPolicy,
    MaskableMultiInputActorCriticPolicy,
)

from lit_rl.algorithms.ppo import PPO
from lit_rl.curriculum import CurriculumConfig
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError
from lit_rl.ops.schedules import ScheduleLike
from lit_rl.training.config import EvalConfig, Fast
from lit_rl.training.contract import Masks


class MaskablePPO(PPO):
    """PPO with action masks, for Discrete, MultiDiscrete and MultiBinary actions.

    What the environment's `action_masks()` forbids has no chance in the policy, in its log-probabilities and in its
    entropy. Masks are asked for after every reset and step, and stored with the observation.

    Args:
        env: the environments; they or a wrapper have the method `action_masks()`, as for sb3-contrib.
        policy: `MlpPolicy`, `CnnPolicy`, `MultiInputPolicy`, or the import path of a `MaskableActorCriticPolicy` of
            sb3-contrib's.
    """

    POLICIES: ClassVar[Mapping[str, type[Any]]] = {
        "MlpPolicy": MaskableActorCriticPolicy,
        "CnnPolicy": MaskableActorCriticCnnPolicy,
        "MultiInputPolicy": MaskableMultiInputActorCriticPolicy,
    }
    MASKS: ClassVar[Masks] = "needed"

    @classmethod
    def check_actions(cls, space: spaces.Space[Any]) -> None:
        if isinstance(space, spaces.Box):
            raise ConfigError(
                "model: MaskablePPO is for Discrete, MultiDiscrete and MultiBinary actions; this environment has "
                f"{space}."
            )

    def __init__(
        self,
        env: EnvConfig,
        policy: str = "MlpPolicy",
        learning_rate: ScheduleLike = 3e-4,
        n_steps: int = 2048,
        batch_size: int = 64,
        n_epochs: int = 10,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: ScheduleLike = 0.2,
        clip_range_vf: ScheduleLike | None = None,
        normalize_advantage: bool = True,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        target_kl: float | None = None,
        fast: Fast = "auto",
        max_bad_updates: int = 10,
        deterministic_reduction: bool = False,
        reduction_pieces: int = 4,
        cycles_per_iteration: int = 1,
        policy_kwargs: dict | None = None,  # type: ignore[type-arg]
        total_timesteps: int = 1_000_000,
        seed: int = 0,
        curriculum: CurriculumConfig | None = None,
        evaluation: EvalConfig | None = None,
    ) -> None:
        super().__init__(
            env, policy, learning_rate, n_steps, batch_size, n_epochs, gamma, gae_lambda, clip_range, clip_range_vf,
            normalize_advantage, ent_coef, vf_coef, max_grad_norm, False, -1, target_kl, fast, max_bad_updates,
            deterministic_reduction, reduction_pieces, cycles_per_iteration, policy_kwargs, total_timesteps, seed,
            curriculum, evaluation,
        )  # fmt: skip
