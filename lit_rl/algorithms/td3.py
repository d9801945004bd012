"""Twin delayed deep deterministic policy gradient (Fujimoto et al. 2018, arXiv:1802.09477), with SB3's settings.

Shapes: B a batch, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.td3.policies import Actor, CnnPolicy, MultiInputPolicy, TD3Policy
from torch import Tensor
from torch.optim import Optimizer

from lit_rl.algorithms.continuous import Continuous
from lit_rl.algorithms.off_policy import TrainFreq
from lit_rl.algorithms.transitions import Transitions
from lit_rl.curriculum import CurriculumConfig
from lit_rl.data.config import HindsightReplay, PrioritizedReplay
from lit_rl.envs.config import EnvConfig
from lit_rl.networks.critics import Critics, Outputs
from lit_rl.networks.dense_off_policy import DenseCritics, DenseOutputs
from lit_rl.networks.policies import make_policy
from lit_rl.ops.draws import Draws
from lit_rl.ops.gradients import times
from lit_rl.ops.limits import Limit, at_least
from lit_rl.ops.noise import NoiseType
from lit_rl.ops.schedules import ScheduleLike
from lit_rl.ops.td import squared_error, td_target
from lit_rl.training.config import EvalConfig, Fast


class TD3(Continuous):
    """TD3: twin critics, smoothed targets, and an actor that is updated less often.

    Args:
        env: the environments.
        policy: `MlpPolicy`, `CnnPolicy`, `MultiInputPolicy`, or the import path of an SB3 `TD3Policy`.
        learning_rate: of both optimizers; a number, `lin_1e-3`, or a schedule.
        buffer_size: transitions that are kept, of all environments together.
        learning_starts: timesteps before the first gradient step; actions are random until then.
        batch_size: transitions in a gradient step.
        tau: share of the networks that their targets take over in each update.
        gamma: discount factor.
        train_freq: steps of all environments between two updates; `[1, episode]` for episodes of the only one.
        gradient_steps: of an update; -1 for one a transition that was collected.
        noise_type: noise on top of the actions: `normal` or `ornstein-uhlenbeck`; `null` for none.
        noise_std: its deviation.
        n_steps: rewards that a target takes in before it bootstraps.
        prioritized_replay: sample what is surprising more often: `true`, or `{alpha: 0.6, beta: 0.4}`.
        her: learn from goals that were reached by chance, in a goal environment: `true`, or `{n_sampled_goal: 4}`.
        policy_delay: gradient steps of the critics for one of the actor and of the targets.
        target_policy_noise: deviation of the noise on the targets' actions.
        target_noise_clip: how far that noise may go.
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
        "MlpPolicy": TD3Policy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    LIMITS: ClassVar[Mapping[str, Limit]] = {
        "policy_delay": at_least(1),
        "target_policy_noise": at_least(0),
        "target_noise_clip": at_least(0),
    }
    SCRATCH: ClassVar[Mapping[str, str]] = {
        "noises": "made from seed and counters",
        "actor": "made of the policy, whose parameters it has",
        "actor_target": "the same",
        "critics": "the same",
        "critics_target": "the same",
    }

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
        policy_delay: int = 2,
        target_policy_noise: float = 0.2,
        target_noise_clip: float = 0.5,
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
        self.policy_delay = policy_delay
        self.target_policy_noise, self.target_noise_clip = target_policy_noise, target_noise_clip

    # -- networks ------------------------------------------------------------------------------------------------

    def make_networks(self, observation_space: Any, action_space: spaces.Space[Any]) -> Any:
        policy: Any = make_policy(
            self.policy_class, observation_space, action_space, self.learning_rate, policy_kwargs=self.policy_kwargs
        )
        for target in (policy.actor_target, policy.critic_target):
            target.requires_grad_(False)
        return policy

    def build_actor_and_critics(self, observation_space: Any, action_space: spaces.Space[Any]) -> Any:
        policy = self.make_networks(observation_space, action_space)
        self.actor: Outputs | DenseOutputs = Outputs(policy.actor)
        self.actor_target: Outputs | DenseOutputs = Outputs(policy.actor_target)
        self.critics: Critics | DenseCritics = Critics(policy.critic, self.of_critics(policy))
        self.critics_target: Critics | DenseCritics = Critics(policy.critic_target, ())
        shape = (self.own_batch, self._dim)
        self.noises = Draws(
            self.seed,
            "policy_noise",
            *self.own_key,
            draw=lambda rng, n: rng.standard_normal((n, *shape), dtype=np.float32),
        )
        return policy

    def by_hand(self) -> str | None:
        policy: Any = self.policy
        actor, actor_target = (DenseOutputs.of(each, Actor, "mu") for each in (policy.actor, policy.actor_target))
        critics, critics_target = (
            DenseCritics.of(each, ContinuousCritic) for each in (policy.critic, policy.critic_target)
        )
        if isinstance(actor, str) or isinstance(actor_target, str):
            return actor if isinstance(actor, str) else str(actor_target)
        if isinstance(critics, str) or isinstance(critics_target, str):
            return critics if isinstance(critics, str) else str(critics_target)
        self.actor, self.actor_target, self.critics, self.critics_target = actor, actor_target, critics, critics_target
        return None

    def networks_of_update(self) -> tuple[list[Any], list[Any]]:
        return [self.actor, self.critics], [self.actor_target, self.critics_target]

    def make_optimizers(self) -> list[Optimizer]:
        policy: Any = self.policy
        return [
            self.optimizer_of(policy.actor.parameters(), self.actor),
            self.optimizer_of(self.of_critics(policy), self.critics),
        ]

    # -- playing -------------------------------------------------------------------------------------------------

    def scaled_actions(self, obs: Any, noise: np.ndarray | None) -> Tensor:
        return self.actor.infer(obs)

    # -- learning ------------------------------------------------------------------------------------------------

    def learn(self, steps: int) -> dict[str, float]:
        """Gradient steps of the critics, and of the actor after every `policy_delay`-th; metrics as SB3 logs them."""
        found = [self._gradient_step(batch) for batch in self.batches(steps)]
        actor = [loss for loss, _ in found if loss is not None]
        metrics = {"train/critic_loss": sum(loss for _, loss in found) / len(found)}
        return metrics | ({"train/actor_loss": sum(actor) / len(actor)} if actor else {})

    def _gradient_step(self, batch: Transitions) -> tuple[float | None, float]:
        """One step; losses of actor (`None` where it was not its turn) and critics."""
        actor_optimizer, critic_optimizer = self.optimizers_now()
        clip = self.target_noise_clip
        noise = torch.tensor(self.noises[self.counters.updates], device=self.device) * self.target_policy_noise
        next_action = (self.actor_target.infer(batch.next_obs) + noise.clamp(-clip, clip)).clamp(-1.0, 1.0)
        next_q = self.critics_target.infer(batch.next_obs, next_action).amin(dim=0)
        target = td_target(batch.reward, batch.discount, next_q)
        values = self.critics.forward(batch.obs, batch.action)
        critic_loss, slope = squared_error(values, target, batch.weight)
        taken = self.descent.step_by(
            critic_optimizer, critic_loss, lambda scale: self.critics.backward(times(slope, scale))
        )
        self.prioritize(batch, values, target)
        self.counters.updates += 1
        actor_loss: float | None = None
        if self.counters.updates % self.policy_delay == 0:
            q = self.critics.judge(batch.obs, self.actor.forward(batch.obs), first=True)
            loss, each = -q.mean(), torch.full_like(q, -1.0 / q.numel())

            def backward(scale: float) -> None:
                self.actor.backward(self.critics.slope_of_actions(times(each, scale)))

            self.descent.step_by(actor_optimizer, loss, backward, ends_row=taken)
            actor_loss = float(loss)
            self.critics_target.follow(self.critics, self.tau)
            self.actor_target.follow(self.actor, self.tau)
        return actor_loss, float(critic_loss)
