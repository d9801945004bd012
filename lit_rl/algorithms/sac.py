"""Soft actor-critic (Haarnoja et al. 2018, arXiv:1801.01290 and 1812.05905), with stable-baselines3's settings.

Shapes: B a batch, A action dimensions, H width of the actor's last hidden layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.sac.policies import Actor, CnnPolicy, MultiInputPolicy, SACPolicy
from torch import Tensor, nn, optim
from torch.optim import Optimizer

from lit_rl.algorithms.continuous import Continuous
from lit_rl.algorithms.off_policy import TrainFreq
from lit_rl.algorithms.transitions import Transitions
from lit_rl.curriculum import CurriculumConfig
from lit_rl.data.config import HindsightReplay, PrioritizedReplay
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError
from lit_rl.networks.actor_q import SquashedActor, automatic_entropy
from lit_rl.networks.critics import Critics
from lit_rl.networks.dense_off_policy import DenseCritics, DenseSquashedActor
from lit_rl.networks.flat import FlatAdam
from lit_rl.networks.policies import make_policy
from lit_rl.networks.tensors import Table
from lit_rl.ops.draws import Draws
from lit_rl.ops.gradients import times
from lit_rl.ops.limits import Limit, at_least
from lit_rl.ops.noise import NoiseType
from lit_rl.ops.schedules import ScheduleLike
from lit_rl.ops.td import squared_error, td_target
from lit_rl.training.config import EvalConfig, Fast


class SAC(Continuous):
    """SAC with twin critics and an entropy coefficient that is learned.

    Args:
        env: the environments.
        policy: `MlpPolicy`, `CnnPolicy`, `MultiInputPolicy`, or the import path of an SB3 `SACPolicy`.
        learning_rate: of all optimizers; a number, `lin_3e-4`, or a schedule.
        buffer_size: transitions that are kept, of all environments together.
        learning_starts: timesteps before the first gradient step; actions are random until then.
        batch_size: transitions in a gradient step.
        tau: share of the critics that their targets take over in each update.
        gamma: discount factor.
        train_freq: steps of all environments between two updates; `[1, episode]` for episodes of the only one.
        gradient_steps: of an update; -1 for one a transition that was collected.
        noise_type: noise on top of the policy's: `normal` or `ornstein-uhlenbeck`; `null` for none.
        noise_std: its deviation.
        n_steps: rewards that a target takes in before it bootstraps.
        prioritized_replay: sample what is surprising more often: `true`, or `{alpha: 0.6, beta: 0.4}`.
        her: learn from goals that were reached by chance, in a goal environment: `true`, or `{n_sampled_goal: 4}`.
        ent_coef: weight of the entropy: a number, `auto` to learn it, or `auto_0.1` to learn it from 0.1 on.
        target_update_interval: gradient steps of the run between two updates of the targets.
        target_update_per_call: count those within each update call, as stable-baselines3 does.
        target_entropy: the entropy that a learned `ent_coef` aims at; `auto` for minus the action dimensions.
        use_sde: generalised state-dependent exploration instead of independent noise.
        sde_sample_freq: steps after which gSDE draws a new noise matrix; -1 for once a cycle.
        use_sde_at_warmup: let the policy act with gSDE before learning starts, instead of random actions.
        param_resets: timesteps at which networks, targets and optimizers begin anew while the replay stays.
        on_promotion: `keep` what was collected on earlier levels of the curriculum, or `drop` it.
        fast: networks with a backward pass written by hand where they are plain perceptrons (`auto`), `false` for
            torch's autograd, or `compile` for that with torch.compile; the last bits of a run depend on it.
        max_bad_updates: gradient steps whose loss or gradient is not finite are skipped; after so many in a row the run
            stops.
        cycles_per_iteration: steps with their updates in one iteration; logs, checkpoints and signals come between
            iterations, and nothing that is learned depends on it.
        policy_kwargs: keyword arguments of the policy, as in SB3; classes by their import path.
        total_timesteps: the run's target.
        seed: the run's seed.
        curriculum: the run's levels.
        evaluation: when and how the policy is evaluated beside training.
    """

    POLICIES: ClassVar[Mapping[str, type[Any]]] = {
        "MlpPolicy": SACPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    LIMITS: ClassVar[Mapping[str, Limit]] = {
        "ent_coef": at_least(0),
        "target_update_interval": at_least(1),
        "sde_sample_freq": at_least(1, besides=(-1, 0)),
    }
    TENSORS: ClassVar[Table] = {"log_ent_coef": "temperature"}
    PLAIN: ClassVar[tuple[type[nn.Module], type[nn.Module]]] = (Actor, ContinuousCritic)
    """An actor and critics that may be plain perceptrons."""
    CRITICS: ClassVar[tuple[type[Critics], type[DenseCritics]]] = (Critics, DenseCritics)
    """How critics are called, by autograd and by hand."""
    SCRATCH: ClassVar[Mapping[str, str]] = {
        "noises": "made from seed and counters",
        "matrices": "made from seed and counters",
        "matrix": "gSDE's noise within a cycle",
        "actor": "made of the policy, whose parameters it has",
        "critics": "the same",
        "critics_target": "the same",
    }

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
            noise_type, noise_std, env, policy, learning_rate, buffer_size, learning_starts, batch_size, tau, gamma,
            train_freq, gradient_steps, n_steps, prioritized_replay, her, on_promotion, policy_kwargs, fast,
            max_bad_updates, cycles_per_iteration, total_timesteps, seed, curriculum, evaluation, param_resets,
        )  # fmt: skip
        self.target_update_interval, self.target_update_per_call = target_update_interval, target_update_per_call
        self.use_sde, self.sde_sample_freq, self.use_sde_at_warmup = use_sde, sde_sample_freq, use_sde_at_warmup
        self.random_warmup = not (use_sde and use_sde_at_warmup)
        if not use_sde and (sde_sample_freq != -1 or use_sde_at_warmup):
            key = "use_sde_at_warmup" if use_sde_at_warmup else "sde_sample_freq"
            raise ConfigError(f"model.{key} needs model.use_sde: true.")
        self.target_entropy = target_entropy
        learned, self.ent_coef = _entropy(ent_coef)
        self.log_ent_coef = nn.Parameter(torch.full((1,), math.log(self.ent_coef))) if learned else None

    # -- networks ------------------------------------------------------------------------------------------------

    def make_networks(self, observation_space: Any, action_space: spaces.Space[Any]) -> Any:
        return make_policy(
            self.policy_class, observation_space, action_space, self.learning_rate,
            use_sde=self.use_sde, policy_kwargs=self.policy_kwargs,
        )  # fmt: skip

    def build_actor_and_critics(self, observation_space: Any, action_space: spaces.Space[Any]) -> Any:
        policy = self.make_networks(observation_space, action_space)
        self.actor: SquashedActor | DenseSquashedActor = SquashedActor(policy.actor)
        self.critics: Critics | DenseCritics = self.CRITICS[0](policy.critic, self.of_critics(policy))
        self.build_targets(policy)
        shape = (self.own_batch, self._dim)
        drawn = self.actor.noise_shape if self.use_sde else (2, *shape)  # one matrix serves both, as in SB3
        self.noises = Draws(
            self.seed,
            "policy_noise",
            *self.own_key,
            draw=lambda rng, n: rng.standard_normal((n, *drawn), dtype=np.float32),
        )
        rows = self.ranks.rows(self.env_config.n_envs)
        self.matrices = [
            Draws(self.seed, "gsde", i, draw=lambda rng, n: rng.standard_normal((n, *drawn), dtype=np.float32))
            for i in rows
        ]
        self.matrix: np.ndarray | None = None
        return policy

    def build_targets(self, policy: Any) -> None:
        """Critics that follow the others and learn nothing themselves."""
        policy.critic_target.requires_grad_(False)
        self.critics_target: Critics | DenseCritics = self.CRITICS[0](policy.critic_target, ())

    def by_hand(self) -> str | None:
        policy: Any = self.policy
        actor = DenseSquashedActor.of(policy.actor, self.PLAIN[0])
        critics, target = (self.CRITICS[1].of(each, self.PLAIN[1]) for each in (policy.critic, policy.critic_target))
        if isinstance(actor, str):
            return actor
        if isinstance(critics, str) or isinstance(target, str):
            return critics if isinstance(critics, str) else str(target)
        self.actor, self.critics, self.critics_target = actor, critics, target
        return None

    def networks_of_update(self) -> tuple[list[Any], list[Any]]:
        return [self.actor, self.critics], [self.critics_target]

    def make_optimizers(self) -> list[Optimizer]:
        policy: Any = self.policy
        optimizers = [
            self.optimizer_of(policy.actor.parameters(), self.actor),
            self.optimizer_of(self.of_critics(policy), self.critics),
        ]
        if self.log_ent_coef is not None:
            optimizers.append(FlatAdam.like(optim.Adam([self.log_ent_coef], lr=self.learning_rate(1.0), fused=True)))
        return optimizers

    def begin_anew(self) -> None:
        if self.log_ent_coef is not None:
            with torch.no_grad():
                self.log_ent_coef.fill_(math.log(self.ent_coef))
        super().begin_anew()

    # -- playing -------------------------------------------------------------------------------------------------

    def scaled_actions(self, obs: Any, noise: np.ndarray | None) -> Tensor:
        if noise is None:
            return self.actor.mode(obs)
        return self.actor.sample(obs, torch.from_numpy(noise).to(self.device))

    def act(self, noise_NA: np.ndarray) -> np.ndarray:
        if not self.use_sde:
            return super().act(noise_NA)
        if self.matrix is None or self.collected == 0 or self._is_due(self.collected):
            self.matrix = np.stack([draws[self.replay.end] for draws in self.matrices])
        return super().act(self.matrix)

    def _is_due(self, step: int) -> bool:
        return self.sde_sample_freq > 0 and step % self.sde_sample_freq == 0

    def noise_for(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.standard_normal((count, *self.actor.noise_shape), dtype=np.float32)

    # -- learning ------------------------------------------------------------------------------------------------

    def learn(self, steps: int) -> dict[str, float]:
        """Gradient steps of entropy coefficient, critics and actor, in this order; metrics as SB3 logs them."""
        found = [self.gradient_step(batch, i) for i, batch in enumerate(self.batches(steps))]
        actor, critic, ent_coef, ent_coef_loss = (sum(each) / len(found) for each in zip(*found, strict=True))
        metrics = {"train/actor_loss": actor, "train/critic_loss": critic, "train/ent_coef": ent_coef}
        if self.log_ent_coef is not None:
            metrics["train/ent_coef_loss"] = ent_coef_loss
        if self.use_sde:
            actor_network: Any = self.policy.actor
            metrics["train/std"] = float(actor_network.get_std().detach().mean())
        return metrics

    def gradient_step(self, batch: Transitions, index: int) -> tuple[float, float, float, float]:
        """One step of each; losses of actor and critics, the entropy coefficient and its loss."""
        actor_optimizer, critic_optimizer, *temperature = self.optimizers_now()
        noise = torch.tensor(self.noises[self.counters.updates], device=self.device)
        now, after = (noise, noise) if self.use_sde else noise
        ent_coef, ent_coef_loss = torch.tensor([self.ent_coef], device=self.device), torch.zeros(())
        next_action, next_log_prob = self.actor.infer(batch.next_obs, after)
        action, log_prob = self.actor.forward(batch.obs, now)
        if self.log_ent_coef is not None:
            ent_coef, ent_coef_loss = self.learn_temperature(temperature[0], self.log_ent_coef, log_prob)
        next_values = self.critics_target.infer(batch.next_obs, next_action)
        target = self.target(batch, next_values, ent_coef * next_log_prob)
        values = self.critics.forward(batch.obs, batch.action)
        critic_loss, slope = self.critic_loss(values, target, batch.weight)
        taken = self.descent.step_by(
            critic_optimizer, critic_loss, lambda scale: self.critics.backward(times(slope, scale))
        )
        self.prioritize(batch, values, target)
        actor_loss = self.learn_actor(actor_optimizer, batch, action, log_prob, ent_coef, taken)
        if (index if self.target_update_per_call else self.counters.updates) % self.target_update_interval == 0:
            self.critics_target.follow(self.critics, self.tau)
        self.counters.updates += 1
        return float(actor_loss), float(critic_loss), float(ent_coef), float(ent_coef_loss)

    def target(self, batch: Transitions, next_KB: Tensor, less_B: Tensor) -> Tensor:
        """What the critics' values should be: [B].

        Args:
            next_KB: values of the next observations, by each critic.
            less_B: what the entropy takes off them.
        """
        return td_target(batch.reward, batch.discount, next_KB.amin(dim=0) - less_B)

    def critic_loss(self, value_KB: Tensor, target_B: Tensor, weight_B: Tensor | None) -> tuple[Tensor, Tensor]:
        """The critics' loss, and its gradient with respect to their values."""
        squared, slope = squared_error(value_KB, target_B, weight_B)
        return 0.5 * squared, slope * 0.5

    def learn_actor(
        self, optimizer: Optimizer, batch: Transitions, action: Tensor, log_prob_B: Tensor, alpha: Tensor, taken: bool
    ) -> Tensor:
        """Take a step down ``mean(alpha log pi - worth)`` for the actions that the actor gave last; returns the loss.

        Args:
            optimizer: the actor's.
            batch: whose observations they are for.
            action, log_prob_B: they.
            alpha: the entropy's coefficient.
            taken: whether the critics took their step.
        """
        worth_B, slope = self.worth(self.critics.judge(batch.obs, action))
        loss = (alpha * log_prob_B - worth_B).mean()

        def backward(scale: float) -> None:
            mean = scale / len(worth_B)
            self.actor.backward(self.critics.slope_of_actions(slope.mul_(-mean)), float(alpha) * mean)

        self.descent.step_by(optimizer, loss, backward, ends_row=taken)
        return loss

    def worth(self, value_KB: Tensor) -> tuple[Tensor, Tensor]:
        """What actions are worth to the actor, [B], and its gradient with respect to the critics' values."""
        lowest = value_KB.amin(dim=0)
        chosen = (value_KB == lowest).float()  # the lowest of the critics; where two are, they share
        return lowest, chosen.div_(chosen.sum(dim=0))

    def learn_temperature(
        self, optimizer: Optimizer, log_ent_coef: nn.Parameter, log_prob_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Take a step down ``-log(alpha) mean(log pi + wanted entropy)``; returns alpha before it, and the loss."""
        log_alpha = log_ent_coef.detach()
        slope = log_prob_B.mean().add_(self._wanted_entropy).neg_()
        before, loss = log_alpha.exp(), log_alpha * slope

        def backward(scale: float) -> None:
            log_ent_coef.grad = times(slope, scale).reshape(1)

        self.descent.step_by(optimizer, loss, backward, ends_row=False)
        return before, loss

    @property
    def _wanted_entropy(self) -> float:
        auto = self.target_entropy == "auto"
        return automatic_entropy(self.action_space.shape or ()) if auto else float(self.target_entropy)


def _entropy(ent_coef: float | str) -> tuple[bool, float]:
    """Whether the coefficient is learned, and its first value."""
    if not isinstance(ent_coef, str):
        return False, float(ent_coef)
    name, _, initial = ent_coef.partition("_")
    try:
        value = float(initial) if initial else 1.0
    except ValueError:
        value = -1.0
    if name != "auto" or not (value > 0.0 and math.isfinite(value)):
        raise ConfigError(f"model.ent_coef: '{ent_coef}' is none of a number, auto and auto_0.1.")
    return True, value
