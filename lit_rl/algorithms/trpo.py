"""Trust region policy optimisation (Schulman et al. 2015, arXiv:1502.05477), with sb3-contrib's settings.

Shapes: B = T * N transitions of a rollout, P numbers of the actor's parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sb3_contrib.trpo.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from torch import Tensor

from lit_rl.algorithms.on_policy import OnPolicy
from lit_rl.algorithms.statistics import ValueStats
from lit_rl.curriculum import CurriculumConfig
from lit_rl.data.rollout import Rollout
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError
from lit_rl.networks.actor_critic import ActorCritic, Slope
from lit_rl.networks.trust_region import Around, DenseTrustRegion, TrustRegion
from lit_rl.ops.conjugate_gradient import conjugate_gradient
from lit_rl.ops.limits import Limit, above, at_least, between
from lit_rl.ops.losses import value_loss
from lit_rl.ops.schedules import ScheduleLike
from lit_rl.training.config import EvalConfig
from lit_rl.training.contract import Masks
from lit_rl.training.sharing import Piece


class TRPO(OnPolicy):
    """TRPO: the actor takes one step along its natural gradient, as far as it is trusted; the critic learns with Adam.

    Args:
        env: the environments.
        policy: `MlpPolicy`, `CnnPolicy`, `MultiInputPolicy`, or the import path of an SB3 `ActorCriticPolicy`.
        learning_rate: of the critic; a number, `lin_1e-3`, or a schedule.
        n_steps: steps of each environment in a rollout.
        batch_size: transitions in a minibatch of the critic.
        gamma: discount factor.
        cg_max_steps: steps of conjugate gradients towards the direction of the actor's step.
        cg_damping: what is added to the curvature in every direction.
        line_search_shrinking_factor: a step that is not trusted is tried this much shorter.
        line_search_max_iter: tries; after the last the actor stays where it was.
        n_critic_updates: passes of the critic over a rollout.
        gae_lambda: the lambda of generalised advantage estimation.
        use_sde: generalised state-dependent exploration instead of independent noise (Box actions).
        sde_sample_freq: steps after which gSDE draws a new noise matrix; -1 for once a rollout.
        normalize_advantage: scale the advantages of a rollout to mean 0 and deviation 1.
        target_kl: how far a step may move the policy.
        sub_sampling_factor: the actor's step is worked out on one transition in so many.
        fast: networks with derivatives written by hand where they are plain perceptrons (`auto`), or `false` for
            torch's autograd; the last bits of a run depend on it.
        max_bad_updates: minibatches whose loss or gradient is not finite are skipped; after so many in a row the run
            stops.
        deterministic_reduction: compute in fixed pieces and add them in a fixed order, so that any number of ranks
            gives the same bits. Slower; on the CPU with one thread.
        reduction_pieces: how many groups of environments these pieces belong to; every number of ranks that divides it
            gives the same.
        cycles_per_iteration: rollouts with their updates in one iteration; logs, checkpoints and signals come between
            iterations, and nothing that is learned depends on it.
        policy_kwargs: keyword arguments of the policy, as in SB3; classes by their import path.
        total_timesteps: the run's target.
        seed: the run's seed.
        curriculum: the run's levels.
        evaluation: when and how the policy is evaluated beside training.
    """

    POLICIES: ClassVar[Mapping[str, type[Any]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    LIMITS: ClassVar[Mapping[str, Limit]] = {
        "batch_size": at_least(1),
        "cg_max_steps": at_least(1),
        "cg_damping": at_least(0),
        "line_search_shrinking_factor": between(0, 1),
        "line_search_max_iter": at_least(1),
        "n_critic_updates": at_least(1),
        "target_kl": above(0),
        "sub_sampling_factor": at_least(1),
    }
    MASKS: ClassVar[Masks] = "refused"
    net: TrustRegion

    def __init__(
        self,
        env: EnvConfig,
        policy: str = "MlpPolicy",
        learning_rate: ScheduleLike = 1e-3,
        n_steps: int = 2048,
        batch_size: int = 128,
        gamma: float = 0.99,
        cg_max_steps: int = 15,
        cg_damping: float = 0.1,
        line_search_shrinking_factor: float = 0.8,
        line_search_max_iter: int = 10,
        n_critic_updates: int = 10,
        gae_lambda: float = 0.95,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        normalize_advantage: bool = True,
        target_kl: float = 0.01,
        sub_sampling_factor: int = 1,
        fast: bool | Literal["auto"] = "auto",
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
            env, policy, learning_rate, n_steps, gamma, gae_lambda, normalize_advantage, 0.0, 0.0, math.inf, use_sde,
            sde_sample_freq, policy_kwargs, deterministic_reduction, reduction_pieces, fast, max_bad_updates,
            cycles_per_iteration, total_timesteps, seed, curriculum, evaluation,
        )  # fmt: skip
        self.batch_size, self.n_critic_updates = batch_size, n_critic_updates
        self.cg_max_steps, self.cg_damping = cg_max_steps, cg_damping
        self.shrinking, self.tries = line_search_shrinking_factor, line_search_max_iter
        self.target_kl, self.sub_sampling_factor = target_kl, sub_sampling_factor
        if n_steps * self.env_config.n_envs < 2:
            raise ConfigError("model.n_steps times env.n_envs is 1; a rollout needs at least 2 transitions.")

    def net_of(self, policy: Any) -> ActorCritic:
        return TrustRegion(policy)

    def dense_net_of(self, policy: Any) -> ActorCritic | str:
        return DenseTrustRegion.of(policy)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One step of the actor on the rollout, and several passes of the critic; metrics as sb3-contrib logs them."""
        (optimizer,) = self.optimizers_now()
        self.training_mode(True)
        rng = self.stream("minibatches", self.counters.iterations)
        everything = rng.permutation(len(rollout.all_value))[:: self.sub_sampling_factor]
        with self.full_precision():
            metrics = self._step_actor(self._pieces(rollout, everything, len(everything))[0])
        losses: list[Tensor] = []
        for _ in range(self.n_critic_updates):
            order = rng.permutation(len(rollout.all_value))
            for pieces in self._pieces(rollout, order, self.batch_size):
                found = self.descent.gradient(self.sharing, pieces, self.net, self._value_loss, ValueStats)
                if self.descent.take(optimizer, found.whole, None):
                    losses += found.losses
        self.counters.updates += 1
        metrics["train/value_loss"] = float(torch.stack(losses).mean()) if losses else math.nan
        return self.common_metrics(rollout) | metrics

    def _pieces(self, rollout: Rollout, order: np.ndarray, size: int) -> list[list[Piece]]:
        """The minibatches of an order, each as the pieces of it that this rank computes."""
        return list(self.sharing.minibatches(rollout, rollout.all_advantage, order, size, self.scale))

    def _value_loss(self, piece: Piece) -> tuple[Slope, ValueStats]:
        loss, slope = value_loss(self.net.judge(piece.batch.obs), piece.batch.value, piece.batch.ret, None)
        return Slope(slope, slope), ValueStats([loss])

    def _step_actor(self, pieces: list[Piece]) -> dict[str, float]:
        """The longest trusted step that improves the surrogate: ``sqrt(2 target_kl / s H s) s`` with ``H s = g``."""
        net, start = self.net, self.net.position()
        around = [net.around(piece.batch.obs, piece.batch.action) for piece in pieces]

        def total(of: Callable[[Piece, Around], Tensor], size: int) -> Tensor:
            """The mean over all transitions of all ranks, [size]."""
            return self.sharing.total(
                [
                    of(piece, each) * piece.weight if len(piece.batch) else start.new_zeros(size)
                    for piece, each in zip(pieces, around, strict=True)
                ]
            )

        def gradient(piece: Piece, each: Around) -> Tensor:
            """That of the surrogate, and behind it the surrogate itself."""
            surrogate = self._surrogate(piece, each.log_prob)
            return torch.cat([each.gradient(surrogate / len(surrogate)), surrogate.mean().reshape(1)])

        def product(direction: Tensor) -> Tensor:
            return total(lambda _, each: each.curvature(direction), len(start)) + self.cg_damping * direction

        def measure(piece: Piece, each: Around) -> Tensor:
            log_prob, divergence = each.there()
            return torch.stack([self._surrogate(piece, log_prob).mean(), divergence.mean()])

        begun = 1e-4 * net.noise(self.stream("conjugate_gradient", self.counters.iterations))
        found = total(gradient, len(start) + 1)
        direction = conjugate_gradient(product, found[:-1].clone(), begun, self.cg_max_steps)
        curvature = float(direction @ product(direction))
        step = direction * (math.sqrt(2.0 * self.target_kl / curvature) if curvature > 0.0 else math.nan)
        objective, moved, trusted = float(found[-1]), 0.0, False
        for i in range(self.tries):
            net.move_to(start + self.shrinking**i * step)
            improved, divergence = total(measure, 2).tolist()
            if divergence < self.target_kl and improved > objective:
                objective, moved, trusted = improved, divergence, True
                break
        if not trusted:
            net.move_to(start)
        return {
            "train/policy_objective": objective,
            "train/kl_divergence_loss": moved,
            "train/is_line_search_success": float(trusted),
        }

    @staticmethod
    def _surrogate(piece: Piece, log_prob: Tensor) -> Tensor:
        """``A pi_new / pi_old`` of each transition; also its slope to the log-probability."""
        return piece.advantage * torch.exp(log_prob - piece.batch.log_prob)
