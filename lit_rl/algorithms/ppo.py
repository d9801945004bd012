"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347), with stable-baselines3's settings.

Shapes: T steps of a rollout, N environments, B = T * N.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from lit_rl.algorithms.on_policy import OnPolicy
from lit_rl.algorithms.statistics import RatioStats, UpdateStats
from lit_rl.curriculum import CurriculumConfig
from lit_rl.data.rollout import Rollout
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError
from lit_rl.networks.actor_critic import Slope
from lit_rl.ops.limits import Limit, above, at_least
from lit_rl.ops.losses import clipped_policy_loss, value_loss
from lit_rl.ops.schedules import ScheduleLike, as_schedule
from lit_rl.training.config import EvalConfig, Fast
from lit_rl.training.sharing import Piece


class PPO(OnPolicy):
    """PPO with clipping, for every action space SB3's PPO takes.

    Args:
        env: the environments.
        policy: `MlpPolicy`, `CnnPolicy`, `MultiInputPolicy`, or the import path of an SB3 `ActorCriticPolicy`.
        learning_rate: a number, `lin_3e-4`, or a schedule.
        n_steps: steps of each environment in a rollout.
        batch_size: transitions in a minibatch.
        n_epochs: passes over a rollout.
        gamma: discount factor.
        gae_lambda: the lambda of generalised advantage estimation.
        clip_range: how far the probability ratio may go from 1; a number or a schedule.
        clip_range_vf: how far a value may go from its old one; a number, a schedule, or `null` for no clipping.
        normalize_advantage: scale the advantages of each minibatch to mean 0 and deviation 1.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the value loss.
        max_grad_norm: bound of the gradient's norm.
        use_sde: generalised state-dependent exploration instead of independent noise (Box actions).
        sde_sample_freq: steps after which gSDE draws a new noise matrix; -1 for once a rollout.
        target_kl: end an update once the policy has moved 1.5 times this far; `null` for no bound.
        fast: networks with a backward pass written by hand where they are plain perceptrons (`auto`), `false` for
            torch's autograd, or `compile` for that with torch.compile; the last bits of a run depend on it.
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

    LIMITS: ClassVar[Mapping[str, Limit]] = {
        "batch_size": at_least(1),
        "n_epochs": at_least(1),
        "clip_range": above(0),
        "clip_range_vf": above(0),
        "target_kl": above(0),
    }

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
        use_sde: bool = False,
        sde_sample_freq: int = -1,
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
            env, policy, learning_rate, n_steps, gamma, gae_lambda, normalize_advantage, ent_coef, vf_coef,
            max_grad_norm, use_sde, sde_sample_freq, policy_kwargs, deterministic_reduction, reduction_pieces,
            fast, max_bad_updates, cycles_per_iteration, total_timesteps, seed, curriculum, evaluation,
        )  # fmt: skip
        self.clip_range = as_schedule(clip_range, "model.clip_range")
        self.clip_range_vf = None if clip_range_vf is None else as_schedule(clip_range_vf, "model.clip_range_vf")
        self.batch_size, self.n_epochs, self.target_kl = batch_size, n_epochs, target_kl
        if n_steps * self.env_config.n_envs < 2:
            raise ConfigError("model.n_steps times env.n_envs is 1; a rollout needs at least 2 transitions.")

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Several epochs of minibatch steps on one rollout; metrics as SB3 logs them."""
        (optimizer,) = self.optimizers_now()
        self.training_mode(True)
        progress = self.progress_remaining
        clip_range = self.clip_range(progress)
        clip_range_vf = None if self.clip_range_vf is None else self.clip_range_vf(progress)
        loss = functools.partial(self._loss, clip_range=clip_range, clip_range_vf=clip_range_vf)
        rng = self.stream("minibatches", self.counters.iterations)
        stats, going_on = UpdateStats(), True
        for _ in range(self.n_epochs):
            stats.begin_epoch()
            order = self.order(rng, len(rollout.all_value))
            for pieces in self.sharing.minibatches(rollout, rollout.all_advantage, order, self.batch_size, self.scale):
                found = self.descent.gradient(self.sharing, pieces, self.net, loss, RatioStats)
                if self.target_kl is not None and float(found.kl()) > 1.5 * self.target_kl:
                    stats.minibatches.append(found)
                    going_on = False
                    break
                if self.descent.take(optimizer, found.whole, self.max_grad_norm):
                    stats.minibatches.append(found)
            self.counters.updates += 1
            if not going_on:
                break
        return self._metrics(rollout, stats, clip_range, clip_range_vf)

    def order(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """The order in which an epoch takes the transitions of all ranks, by their places in (time, environment)."""
        return rng.permutation(count)

    def _loss(self, piece: Piece, clip_range: float, clip_range_vf: float | None) -> tuple[Slope, RatioStats]:
        """The slope of a piece's mean loss, and what it leaves for the log."""
        batch = piece.batch
        now = self.net.evaluate(batch.obs, batch.action)
        log_ratio = now.log_prob - batch.log_prob
        policy_loss, d_log_prob = clipped_policy_loss(piece.advantage, log_ratio, clip_range)
        v_loss, d_value = value_loss(now.value, batch.value, batch.ret, clip_range_vf)
        losses, slope = self.whole_loss(now, policy_loss, v_loss, Slope(d_log_prob, d_value))
        return slope, RatioStats(losses, log_ratio, clip_range)

    def _metrics(
        self, rollout: Rollout, stats: UpdateStats, clip_range: float, clip_range_vf: float | None
    ) -> dict[str, float]:
        policy_loss, v_loss, entropy_loss, last_loss = stats.loss_metrics()
        metrics = self.common_metrics(rollout) | {
            "train/approx_kl": stats.approx_kl(),
            "train/clip_fraction": stats.clip_fraction(clip_range),
            "train/clip_range": clip_range,
            "train/entropy_loss": entropy_loss,
            "train/loss": last_loss,
            "train/policy_gradient_loss": policy_loss,
            "train/value_loss": v_loss,
        }
        if clip_range_vf is not None:
            metrics["train/clip_range_vf"] = clip_range_vf
        return metrics
