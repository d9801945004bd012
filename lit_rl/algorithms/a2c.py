"""Advantage actor-critic (Mnih et al. 2016, arXiv:1602.01783, synchronous), with stable-baselines3's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import optim

from lit_rl.algorithms.on_policy import OnPolicy
from lit_rl.algorithms.statistics import LossStats
from lit_rl.curriculum import CurriculumConfig
from lit_rl.data.rollout import Rollout
from lit_rl.envs.config import EnvConfig
from lit_rl.networks.actor_critic import Slope
from lit_rl.ops.limits import Limit, at_least
from lit_rl.ops.losses import policy_gradient_loss, value_loss
from lit_rl.ops.schedules import ScheduleLike
from lit_rl.training.config import EvalConfig, Fast
from lit_rl.training.sharing import Piece


class A2C(OnPolicy):
    """A2C: one gradient step over each whole rollout, for every action space SB3's A2C takes.

    Args:
        env: the environments.
        policy: `MlpPolicy`, `CnnPolicy`, `MultiInputPolicy`, or the import path of an SB3 `ActorCriticPolicy`.
        learning_rate: a number, `lin_7e-4`, or a schedule.
        n_steps: steps of each environment in a rollout.
        gamma: discount factor.
        gae_lambda: the lambda of generalised advantage estimation; 1 for the returns of the paper.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the value loss.
        max_grad_norm: bound of the gradient's norm.
        rms_prop_eps: epsilon of RMSprop.
        use_rms_prop: RMSprop as the optimizer, unless `policy_kwargs` names another; false takes the policy's, Adam.
        use_sde: generalised state-dependent exploration instead of independent noise (Box actions).
        sde_sample_freq: steps after which gSDE draws a new noise matrix; -1 for once a rollout.
        normalize_advantage: scale the advantages of a rollout to mean 0 and deviation 1.
        fast: networks with a backward pass written by hand where they are plain perceptrons (`auto`), `false` for
            torch's autograd, or `compile` for that with torch.compile; the last bits of a run depend on it.
        max_bad_updates: updates whose loss or gradient is not finite are skipped; after so many in a row the run stops.
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

    LIMITS: ClassVar[Mapping[str, Limit]] = {"rms_prop_eps": at_least(0)}

    def __init__(
        self,
        env: EnvConfig,
        policy: str = "MlpPolicy",
        learning_rate: ScheduleLike = 7e-4,
        n_steps: int = 5,
        gamma: float = 0.99,
        gae_lambda: float = 1.0,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        rms_prop_eps: float = 1e-5,
        use_rms_prop: bool = True,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        normalize_advantage: bool = False,
        fast: Fast = "auto",
        max_bad_updates: int = 10,
        deterministic_reduction: bool = False,
        reduction_pieces: int = 4,
        cycles_per_iteration: int = 50,
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
        if use_rms_prop and "optimizer_class" not in self.policy_kwargs:
            self.policy_kwargs["optimizer_class"] = optim.RMSprop
            self.policy_kwargs["optimizer_kwargs"] = {"alpha": 0.99, "eps": rms_prop_eps, "weight_decay": 0}

    def update(self, rollout: Rollout) -> dict[str, float]:
        """One gradient step over the whole rollout; metrics as SB3 logs them."""
        (optimizer,) = self.optimizers_now()
        self.training_mode(True)
        pieces = self.sharing.whole(rollout, rollout.all_advantage, self.scale)
        found = self.descent.gradient(self.sharing, pieces, self.net, self._loss, LossStats)
        self.descent.take(optimizer, found.whole, self.max_grad_norm)
        self.counters.updates += 1
        policy_loss, v_loss, entropy_loss, _ = found.numbers().tolist()
        return self.common_metrics(rollout) | {
            "train/entropy_loss": entropy_loss,
            "train/policy_loss": policy_loss,
            "train/value_loss": v_loss,
        }

    def _loss(self, piece: Piece) -> tuple[Slope, LossStats]:
        """The slope of a piece's mean loss, and what it leaves for the log."""
        batch = piece.batch
        now = self.net.evaluate(batch.obs, batch.action)
        policy_loss, d_log_prob = policy_gradient_loss(piece.advantage, now.log_prob)
        v_loss, d_value = value_loss(now.value, batch.value, batch.ret, None)
        losses, slope = self.whole_loss(now, policy_loss, v_loss, Slope(d_log_prob, d_value))
        return slope, LossStats(losses)
