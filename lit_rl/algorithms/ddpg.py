"""Deep deterministic policy gradient (Lillicrap et al. 2016, arXiv:1509.02971), with stable-baselines3's settings."""

from __future__ import annotations

from typing import Literal

from lit_rl.algorithms.off_policy import TrainFreq
from lit_rl.algorithms.td3 import TD3
from lit_rl.curriculum import CurriculumConfig
from lit_rl.data.config import HindsightReplay, PrioritizedReplay
from lit_rl.envs.config import EnvConfig
from lit_rl.ops.noise import NoiseType
from lit_rl.ops.schedules import ScheduleLike
from lit_rl.training.config import EvalConfig, Fast


class DDPG(TD3):
    """TD3 with one critic, no delay and no noise on the targets.

    Args: see `TD3`, of whose settings these are a part.
    """

    def __init__(
        self,
        env: EnvConfig,
        policy: str = "MlpPolicy",
        learning_rate: ScheduleLike = 1e-3,
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
            gradient_steps, noise_type, noise_std, n_steps, prioritized_replay, her, policy_delay=1,
            target_policy_noise=0.0, target_noise_clip=0.0, param_resets=param_resets, on_promotion=on_promotion,
            fast=fast, max_bad_updates=max_bad_updates, cycles_per_iteration=cycles_per_iteration,
            policy_kwargs=policy_kwargs, total_timesteps=total_timesteps, seed=seed, curriculum=curriculum,
            evaluation=evaluation,
        )  # fmt: skip
        self.policy_kwargs.setdefault("n_critics", 1)
