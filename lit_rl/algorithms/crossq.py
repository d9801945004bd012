"""CrossQ (Bhatt et al. 2024, arXiv:1902.05605): SAC without target networks, with sb3-contrib's settings.

Batch renormalisation in all networks takes the place of the targets. Shapes: B a batch, K critics, A action dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from gymnasium import spaces
from sb3_contrib.crossq.policies import CrossQPolicy

from lit_rl.algorithms.off_policy import TrainFreq
from lit_rl.algorithms.sac import SAC
from lit_rl.algorithms.transitions import Transitions
from lit_rl.curriculum import CurriculumConfig
from lit_rl.data.config import HindsightReplay, PrioritizedReplay
from lit_rl.envs.config import EnvConfig
from lit_rl.networks.renorm import renormalize_quickly
from lit_rl.ops.gradients import times
from lit_rl.ops.limits import Limit, at_least
from lit_rl.ops.noise import NoiseType
from lit_rl.ops.schedules import ScheduleLike
from lit_rl.ops.tree import tree_map
from lit_rl.training.config import EvalConfig, Fast


class CrossQ(SAC):
    """SAC whose critics see a batch and what follows it in one pass, so that both have the same statistics.

    Several ranks normalise by the statistics of their own piece of a batch, and keep the mean of their running ones.
    The other settings are those of `SAC`, without those of targets.

    Args:
        policy: `MlpPolicy`, or the import path of an sb3-contrib `CrossQPolicy`.
        policy_delay: gradient steps of the critics for one of the actor and of the entropy coefficient.
        policy_kwargs: keyword arguments of the policy, as in sb3-contrib, `batch_norm: true` and
            `renorm_warmup_steps: 100_000` among them; classes by their import path.
    """

    POLICIES: ClassVar[Mapping[str, type[Any]]] = {"MlpPolicy": CrossQPolicy}
    LIMITS: ClassVar[Mapping[str, Limit]] = {"policy_delay": at_least(1), "batch_size": at_least(2)}

    def __init__(
        self,
        env: EnvConfig,
        policy: str = "MlpPolicy",
        learning_rate: ScheduleLike = 1e-3,
        buffer_size: int = 1_000_000,
        learning_starts: int = 100,
        batch_size: int = 256,
        gamma: float = 0.99,
        train_freq: TrainFreq = 1,
        gradient_steps: int = 1,
        noise_type: NoiseType | None = None,
        noise_std: float = 0.1,
        n_steps: int = 1,
        prioritized_replay: bool | PrioritizedReplay = False,
        her: bool | HindsightReplay = False,
        ent_coef: float | str = "auto",
        target_entropy: float | Literal["auto"] = "auto",
        policy_delay: int = 3,
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
            env, policy, learning_rate, buffer_size, learning_starts, batch_size, 1.0, gamma, train_freq,
            gradient_steps, noise_type, noise_std, n_steps, prioritized_replay, her, ent_coef,
            target_entropy=target_entropy, use_sde=use_sde, sde_sample_freq=sde_sample_freq,
            use_sde_at_warmup=use_sde_at_warmup, param_resets=param_resets, on_promotion=on_promotion, fast=fast,
            max_bad_updates=max_bad_updates, cycles_per_iteration=cycles_per_iteration, policy_kwargs=policy_kwargs,
            total_timesteps=total_timesteps, seed=seed, curriculum=curriculum, evaluation=evaluation,
        )  # fmt: skip
        self.policy_delay = policy_delay

    def make_networks(self, observation_space: Any, action_space: spaces.Space[Any]) -> Any:
        policy = super().make_networks(observation_space, action_space)
        renormalize_quickly(policy)
        return policy

    def build_targets(self, policy: Any) -> None:
        """There are none."""

    def by_hand(self) -> str | None:
        return "CrossQ's have batch renormalisation"

    def networks_of_update(self) -> tuple[list[Any], list[Any]]:
        return [self.actor, self.critics], []

    def learn(self, steps: int) -> dict[str, float]:
        """Gradient steps of the critics, and of temperature and actor after every `policy_delay`-th; metrics as
        sb3-contrib logs them.
        """
        found = [self.gradient_step(batch, i) for i, batch in enumerate(self.batches(steps))]
        _, critic, ent_coef, _ = (sum(each) / len(found) for each in zip(*found, strict=True))
        metrics = {"train/critic_loss": critic, "train/ent_coef": ent_coef}
        turns = [each for each in found if not math.isnan(each[0])]
        if turns:
            metrics["train/actor_loss"] = sum(each[0] for each in turns) / len(turns)
            if self.log_ent_coef is not None:
                metrics["train/ent_coef_loss"] = sum(each[3] for each in turns) / len(turns)
        return metrics

    def gradient_step(self, batch: Transitions, index: int) -> tuple[float, float, float, float]:
        """As SAC's; losses of actor and temperature are NaN where it is not their turn."""
        actor_optimizer, critic_optimizer, *temperature = self.optimizers_now()
        policy: Any = self.policy
        noise = torch.tensor(self.noises[self.counters.updates], device=self.device)
        now, after = (noise, noise) if self.use_sde else noise
        learned, size = self.log_ent_coef, len(batch.reward)
        ent_coef = torch.tensor([self.ent_coef], device=self.device) if learned is None else learned.detach().exp()
        actor_loss = ent_coef_loss = torch.tensor(math.nan)
        policy.actor.set_bn_training_mode(False)
        next_action, next_log_prob = self.actor.infer(batch.next_obs, after)
        both = tree_map(lambda *parts: torch.cat(parts), batch.obs, batch.next_obs)
        actions = torch.cat([batch.action, next_action])
        values, next_values = self._in_training(policy.critic, self.critics.forward, both, actions).split(size, dim=1)
        target = self.target(batch, next_values, ent_coef * next_log_prob)
        critic_loss, slope = self.critic_loss(values, target, batch.weight)
        slope = torch.cat([slope, torch.zeros_like(slope)], dim=1)  # targets are not learned from
        taken = self.descent.step_by(
            critic_optimizer, critic_loss, lambda scale: self.critics.backward(times(slope, scale))
        )
        self.prioritize(batch, values, target)
        self.counters.updates += 1
        if self.counters.updates % self.policy_delay == 0:
            action, log_prob = self._in_training(policy.actor, self.actor.forward, batch.obs, now)
            if learned is not None:
                ent_coef_loss = self.learn_temperature(temperature[0], learned, log_prob)[1]
            actor_loss = self.learn_actor(actor_optimizer, batch, action, log_prob, ent_coef, taken)
        return float(actor_loss), float(critic_loss), float(ent_coef), float(ent_coef_loss)

    def _in_training(self, network: Any, forward: Callable[..., Any], *inputs: Any) -> Any:
        """What a pass gives that normalises by the statistics of its batch, and lets the running ones follow them."""
        network.set_bn_training_mode(True)
        found = forward(*inputs)
        network.set_bn_training_mode(False)
        running = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        if running and not self.ranks.alone:
            row = torch.cat([each.reshape(-1) for each in running])
            self.ranks.sum_in_place(row)
            row /= self.ranks.size
            for each, part in zip(running, torch.split(row, [each.numel() for each in running]), strict=True):
                each.copy_(part.view_as(each))
        return found
