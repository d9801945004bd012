"""Quantile regression DQN (Dabney et al. 2018, arXiv:1710.10044), with sb3-contrib's settings.

Shapes: N environments, B a batch, Q quantiles, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sb3_contrib.qrdqn.policies import CnnPolicy, MultiInputPolicy, QRDQNPolicy, QuantileNetwork
from torch import Tensor, nn, optim

from lit_rl.algorithms.dqn import DQN, Loss
from lit_rl.algorithms.off_policy import TrainFreq
from lit_rl.algorithms.transitions import Transitions
from lit_rl.curriculum import CurriculumConfig
from lit_rl.data.config import HindsightReplay, PrioritizedReplay
from lit_rl.envs.config import EnvConfig
from lit_rl.ops.quantiles import quantile_huber_loss
from lit_rl.ops.schedules import ScheduleLike
from lit_rl.ops.td import td_target
from lit_rl.training.config import EvalConfig, Fast


class QRDQN(DQN):
    """DQN that learns quantiles of an action's return, and takes the action whose mean is the highest.

    Its optimizer is Adam with ``eps = 0.01 / batch_size``, as in the paper, unless `policy_kwargs` name another. The
    other settings are those of `DQN`.

    Args:
        policy: `MlpPolicy`, `CnnPolicy`, `MultiInputPolicy`, or the import path of an sb3-contrib `QRDQNPolicy`.
        max_grad_norm: bound of the gradient's norm; `null` for none.
        policy_kwargs: keyword arguments of the policy, as in sb3-contrib, `n_quantiles: 200` among them; classes by
            their import path.
    """

    POLICIES: ClassVar[Mapping[str, type[Any]]] = {
        "MlpPolicy": QRDQNPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    PLAIN: ClassVar[tuple[type[nn.Module], str]] = (QuantileNetwork, "quantile_net")

    def __init__(
        self,
        env: EnvConfig,
        policy: str = "MlpPolicy",
        learning_rate: ScheduleLike = 5e-5,
        buffer_size: int = 1_000_000,
        learning_starts: int = 100,
        batch_size: int = 32,
        tau: float = 1.0,
        gamma: float = 0.99,
        train_freq: TrainFreq = 4,
        gradient_steps: int = 1,
        n_steps: int = 1,
        prioritized_replay: bool | PrioritizedReplay = False,
        her: bool | HindsightReplay = False,
        target_update_interval: int = 10_000,
        exploration_fraction: float = 0.005,
        exploration_initial_eps: float = 1.0,
        exploration_final_eps: float = 0.01,
        share_exploration: bool = False,
        max_grad_norm: float | None = None,
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
            gradient_steps, n_steps, prioritized_replay, her, target_update_interval, exploration_fraction,
            exploration_initial_eps, exploration_final_eps, share_exploration, param_resets=param_resets,
            on_promotion=on_promotion, fast=fast, max_bad_updates=max_bad_updates,
            cycles_per_iteration=cycles_per_iteration, policy_kwargs=policy_kwargs, total_timesteps=total_timesteps,
            seed=seed, curriculum=curriculum, evaluation=evaluation,
        )  # fmt: skip
        self.max_grad_norm = max_grad_norm
        if "optimizer_class" not in self.policy_kwargs:
            own = {"eps": 0.01 / batch_size} | self.policy_kwargs.get("optimizer_kwargs", {})
            self.policy_kwargs |= {"optimizer_class": optim.Adam, "optimizer_kwargs": own}

    @staticmethod
    def networks_of(policy: Any) -> tuple[Any, Any]:
        return policy.quantile_net, policy.quantile_net_target

    def greedy(self, policy_obs: Any) -> np.ndarray:
        quantiles = self.net.of_few(policy_obs)
        best: np.ndarray = quantiles.reshape(len(quantiles), *self._shape).mean(axis=1).argmax(axis=1)
        return best

    @property
    def _shape(self) -> tuple[int, int]:
        """Of the quantiles for one observation: Q, A."""
        policy: Any = self.policy
        return policy.n_quantiles, int(self.action_space.n)  # type: ignore[attr-defined]

    def after(self, whole: Transitions) -> Tensor:
        """Targets [B, Q]: the quantiles of the best action of the next observations."""
        values_BQA = self.target_values(whole).view(-1, *self._shape)
        best = values_BQA.mean(dim=1).argmax(dim=1)
        values_BQ = values_BQA[torch.arange(len(best), device=best.device), :, best]
        return td_target(whole.reward[:, None], whole.discount[:, None], values_BQ)

    def loss(self, batch: Transitions, after: Tensor) -> Loss:
        out = self.net.forward(batch.obs)
        quantiles, taken = out.view(-1, *self._shape), batch.action.long()[:, None, None]
        taken = taken.expand(-1, quantiles.shape[1], 1)
        value = quantiles.gather(2, taken)[:, :, 0]
        loss, slope = quantile_huber_loss(value, after, batch.weight, summed=True)
        return Loss(loss, torch.zeros_like(quantiles).scatter_(2, taken, slope[:, :, None]).view_as(out), value, after)

    def prioritize(self, batch: Transitions, value: Tensor, target_B: Tensor) -> None:
        """By the means of quantiles."""
        super().prioritize(batch, value.mean(dim=1), target_B.mean(dim=1))
