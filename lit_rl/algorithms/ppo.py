"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347), with stable-baselines3's settings.

Shapes: T steps of a rollout, N environments, B = T * N, A action dimensions.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    MultiInputActorCriticPolicy,
)
from torch import Tensor, nn

from lit_rl.algorithms.base import RLModule
from lit_rl.algorithms.evaluation import EvalConfig
from lit_rl.algorithms.networks import ActorCritic, as_tensor, to_env
from lit_rl.algorithms.settings import resolve_policy_kwargs
from lit_rl.curriculum import CurriculumConfig
from lit_rl.data.rollout import Batch, RolloutStorage
from lit_rl.envs.build import import_class
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.guard import check_step
from lit_rl.errors import ConfigError, Diverged, did_you_mean
from lit_rl.ops.distributions import StateDependentNoise
from lit_rl.ops.gradients import clip_gradients, gradient_norm
from lit_rl.ops.losses import approximate_kl, clip_fraction, clipped_policy_loss, normalize_advantage, value_loss
from lit_rl.ops.returns import explained_variance, gae
from lit_rl.ops.schedules import ScheduleLike, as_schedule
from lit_rl.ops.streams import Stream, generator
from lit_rl.state.scheduled_lr import ScheduledLR

POLICIES: dict[str, type[ActorCriticPolicy]] = {
    "MlpPolicy": ActorCriticPolicy,
    "CnnPolicy": ActorCriticCnnPolicy,
    "MultiInputPolicy": MultiInputActorCriticPolicy,
}
_EVALUATE_CHUNK = 4096
"""Observations in one forward pass when values of a whole rollout are computed."""


class PPO(RLModule):
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
        max_bad_updates: minibatches whose loss or gradient is not finite are skipped; after so many in a row the run
            stops.
        policy_kwargs: keyword arguments of the policy, as in SB3; classes by their import path.
        total_timesteps: the run's target.
        seed: the run's seed.
        curriculum: the run's levels.
        evaluation: when and how the policy is evaluated beside training.
    """

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
        max_bad_updates: int = 10,
        policy_kwargs: dict | None = None,  # type: ignore[type-arg]
        total_timesteps: int = 1_000_000,
        seed: int = 0,
        curriculum: CurriculumConfig | None = None,
        evaluation: EvalConfig | None = None,
    ) -> None:
        super().__init__(env, total_timesteps, seed, gamma, curriculum, evaluation)
        self.save_hyperparameters(logger=False)
        self.policy_class = _policy_class(policy)
        self.policy_kwargs = resolve_policy_kwargs(policy_kwargs)
        self.learning_rate = as_schedule(learning_rate, "model.learning_rate")
        self.clip_range = as_schedule(clip_range, "model.clip_range")
        self.clip_range_vf = None if clip_range_vf is None else as_schedule(clip_range_vf, "model.clip_range_vf")
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.gae_lambda = gae_lambda
        self.normalize_advantage = normalize_advantage
        self.ent_coef = ent_coef
        self.vf_coef = vf_coef
        self.max_grad_norm = max_grad_norm
        self.use_sde = use_sde
        self.sde_sample_freq = sde_sample_freq
        self.target_kl = target_kl
        self.max_bad_updates = max_bad_updates
        self._check_settings()
        self._net: ActorCritic | None = None
        self._storage: RolloutStorage | None = None

    def _check_settings(self) -> None:
        for name in ("n_steps", "batch_size", "n_epochs", "max_bad_updates"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} is {getattr(self, name)}; it must be at least 1.")
        if self.n_steps * self.env_config.n_envs < 2:
            raise ConfigError("model.n_steps times env.n_envs is 1; a rollout needs at least 2 transitions.")
        if self.use_sde is False and self.sde_sample_freq != -1:
            raise ConfigError("model.sde_sample_freq needs model.use_sde: true.")
        if self.policy_kwargs.get("squash_output") and not self.use_sde:
            raise ConfigError("model.policy_kwargs.squash_output needs model.use_sde: true.")

    # -- networks ----------------------------------------------------------------------------------------------

    def build_policy(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> nn.Module:
        if self.use_sde and not isinstance(action_space, spaces.Box):
            raise ConfigError(f"model.use_sde is for Box actions; this environment has {action_space}.")
        if isinstance(observation_space, spaces.Dict) and not issubclass(
            self.policy_class, MultiInputActorCriticPolicy
        ):
            raise ConfigError("model.policy: Dict observations need MultiInputPolicy.")
        try:
            policy = self.policy_class(
                observation_space,
                action_space,
                self.learning_rate,
                use_sde=self.use_sde,
                **self.policy_kwargs,
            )
        except (TypeError, AssertionError) as error:
            known = inspect.signature(ActorCriticPolicy.__init__).parameters
            wrong = next((key for key in self.policy_kwargs if key not in known), None)
            if wrong is not None and "argument" in str(error):
                raise ConfigError(f"model.policy_kwargs: unknown key '{wrong}'.{did_you_mean(wrong, known)}") from None
            if isinstance(error, AssertionError) and str(error):
                raise ConfigError(f"model.policy: {' '.join(str(error).split())}") from None
            raise
        del policy.optimizer  # ours comes from configure_optimizers, so that the Trainer keeps it
        self._net = ActorCritic(policy)
        return policy

    @property
    def net(self) -> ActorCritic:
        assert self._net is not None
        return self._net

    def configure_optimizers(self) -> Any:
        policy: Any = self.policy
        kwargs = dict(policy.optimizer_kwargs)
        if "fused" in inspect.signature(policy.optimizer_class).parameters and "foreach" not in kwargs:
            kwargs.setdefault("fused", True)
        optimizer = policy.optimizer_class(self.policy.parameters(), lr=self.learning_rate(1.0), **kwargs)
        return {
            "optimizer": optimizer,
            "lr_scheduler": ScheduledLR(optimizer, self.learning_rate, self.clock),
        }

    # -- rollout -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def collect(self) -> Batch:
        """Play T steps in every environment.

        The loop asks only for actions. Values and log-probabilities of all steps come from one pass afterwards, with
        the same weights. As in SB3, dropout and batch norm stand in evaluation mode here.
        """
        envs, net, policy, normalizer = self.build_envs(), self.net, self.policy, self.normalizer
        distribution, log_std = net.distribution, net.log_std
        policy.eval()
        if self._storage is None:
            space = self.normalizer.policy_space(self.observation_space)
            self._storage = RolloutStorage(self.n_steps, envs.n_envs, space, self.action_space)
        storage, obs = self._storage, self._policy_obs
        noise = self._action_noise(envs.offset, envs.n_envs).unbind()
        device = self.device
        actions: list[Tensor] = []
        rewards = np.empty((self.n_steps, envs.n_envs))
        truncated: list[tuple[int, int]] = []
        final_obs: list[Any] = []
        episodes = []
        for t in range(self.n_steps):
            _write(storage.obs_np, t, obs)
            head, latent = net.actor(_step_obs(storage.obs, t, device))
            action = distribution.sample(head, log_std, latent, noise[self._noise_row(t)])
            actions.append(action)
            result = envs.step(to_env(action.cpu().numpy(), policy))  # type: ignore[arg-type]
            check_step(result, envs.offset, self.counters.timesteps + t * self.env_config.n_envs)
            done = result.terminated | result.truncated
            normalizer.update_obs(result.obs)
            obs = normalizer.normalize_obs(result.obs)
            rewards[t] = result.reward
            storage.done[t] = done
            for row, final in result.finals:
                if not result.terminated[row]:
                    truncated.append((t, row))
                    final_obs.append(normalizer.normalize_obs(final))
            episodes += result.episodes
        storage.action.copy_(torch.stack(actions))
        storage.reward[:] = normalizer.scale_rewards(rewards, storage.done)
        self._obs, self._policy_obs = result.obs, obs
        batch = self._evaluate(storage, truncated, final_obs)
        self.finish_rollout(self.n_steps, episodes)
        return batch

    @torch.no_grad()
    def predict(self, policy_obs: Any, rng: np.random.Generator | None = None) -> np.ndarray:
        net = self.net
        head, latent = net.actor(as_tensor(policy_obs, self.device))
        if rng is None:
            action = net.distribution.mode(head)
        else:
            noise = torch.from_numpy(net.distribution.noise(rng, len(head))).to(self.device)
            action = net.distribution.sample(head, net.log_std, latent, noise)
        taken: np.ndarray = to_env(action.cpu().numpy(), self.policy)  # type: ignore[arg-type]
        return taken

    def _action_noise(self, offset: int, n_envs: int) -> Tensor:
        """Noise of the whole rollout, [T, N, ...]: one stream and one draw an environment."""
        rows = self.n_steps
        distribution = self.net.distribution
        if isinstance(distribution, StateDependentNoise):
            rows = -(-self.n_steps // self._sde_every)
        noise = torch.empty((rows, n_envs, *distribution.noise_shape))
        for i in range(n_envs):
            rng = generator(self.seed, Stream.ACTIONS, offset + i, self.counters.iterations)
            noise[:, i] = torch.from_numpy(distribution.noise(rng, rows))
        return noise.to(self.device)

    @property
    def _sde_every(self) -> int:
        return self.sde_sample_freq if self.sde_sample_freq > 0 else self.n_steps

    def _noise_row(self, t: int) -> int:
        return t // self._sde_every if self.use_sde else t

    def _evaluate(self, storage: RolloutStorage, truncated: list[tuple[int, int]], final_obs: list[Any]) -> Batch:
        """Values, log-probabilities, advantages and returns of a full storage."""
        net, (steps, n_envs) = self.net, storage.reward.shape
        obs, action = as_tensor(storage.flat_obs(), self.device), storage.flat_action().to(self.device)
        values, log_probs = [], []
        for start in range(0, steps * n_envs, _EVALUATE_CHUNK):
            piece = slice(start, start + _EVALUATE_CHUNK)
            head, latent, value = net.actor_critic(_slice(obs, piece))
            values.append(value)
            log_probs.append(net.distribution.log_prob_entropy(head, net.log_std, latent, action[piece])[0])
        value, log_prob = torch.cat(values), torch.cat(log_probs)
        last_value = net.critic(as_tensor(self._policy_obs, self.device)).cpu().numpy()
        if truncated:
            final_value = net.critic(as_tensor(_stack(final_obs), self.device)).cpu().numpy()
            for (t, row), v in zip(truncated, final_value, strict=True):
                storage.reward[t, row] += self.gamma * v
        advantage, ret = gae(
            storage.reward,
            value.cpu().numpy().reshape(steps, n_envs),
            storage.done,
            last_value,
            self.gamma,
            self.gae_lambda,
        )
        return Batch(
            obs,
            action,
            log_prob,
            value,
            *(torch.from_numpy(x.reshape(-1)).to(self.device) for x in (advantage, ret)),
        )

    # -- update ------------------------------------------------------------------------------------------------

    def update(self, rollout: Batch) -> dict[str, float]:
        """Several epochs of minibatch steps on one rollout; metrics as SB3 logs them."""
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        scheduler: Any = self.lr_schedulers()
        scheduler.set_timestep(self.counters.timesteps)
        self.policy.train()
        progress = self.progress_remaining
        clip_range = self.clip_range(progress)
        clip_range_vf = None if self.clip_range_vf is None else self.clip_range_vf(progress)
        rng = generator(self.seed, Stream.MINIBATCHES, self.counters.iterations)
        parameters = list(self.policy.parameters())
        backward = self.backward_function()
        seen = _Seen()
        going_on = True
        for _ in range(self.n_epochs):
            seen.last_epoch = len(seen.losses)
            order = torch.from_numpy(rng.permutation(len(rollout))).to(self.device)
            for minibatch in rollout.minibatches(order, self.batch_size):
                loss, losses, log_ratio = self._loss(minibatch, clip_range, clip_range_vf)
                if self.target_kl is not None and float(approximate_kl(log_ratio)) > 1.5 * self.target_kl:
                    seen.add(losses, log_ratio)
                    going_on = False
                    break
                for parameter in parameters:
                    parameter.grad = None
                backward(loss)
                gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
                # here the gradients are whole and not yet clipped
                norm = gradient_norm(gradients)
                if not (math.isfinite(norm) and math.isfinite(float(losses[-1]))):
                    self._skip_bad_update()
                    continue
                clip_gradients(gradients, norm, self.max_grad_norm)
                optimizer.step()
                seen.add(losses, log_ratio)
                self.counters.gradient_steps += 1
                self.counters.bad_updates_in_a_row = 0
            self.counters.updates += 1
            if not going_on:
                break
        return self._update_metrics(rollout, seen, clip_range, clip_range_vf)

    def _skip_bad_update(self) -> None:
        """Count a minibatch whose loss or gradient is not finite; weights and optimizer stay as they are.

        Raises:
            Diverged: it is the last of `max_bad_updates` in a row.
        """
        counters = self.counters
        counters.bad_updates += 1
        counters.bad_updates_in_a_row += 1
        if counters.bad_updates_in_a_row >= self.max_bad_updates:
            raise Diverged(
                f"loss or gradient was not finite in {counters.bad_updates_in_a_row} minibatches in a row "
                f"(model.max_bad_updates), the last at timestep {counters.timesteps}; the last checkpoint stands. "
                "Try a lower model.learning_rate or model.max_grad_norm, or env.normalize for observations and rewards."
            )

    def _loss(
        self, batch: Batch, clip_range: float, clip_range_vf: float | None
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """The loss of a minibatch; for the log, the policy's, value's, entropy's and whole loss; log-ratios [B]."""
        net = self.net
        head, latent, value = net.actor_critic(batch.obs)
        log_prob, entropy = net.distribution.log_prob_entropy(head, net.log_std, latent, batch.action)
        advantage = normalize_advantage(batch.advantage) if self.normalize_advantage else batch.advantage
        log_ratio = log_prob - batch.log_prob
        policy_loss = clipped_policy_loss(advantage, torch.exp(log_ratio), clip_range)
        v_loss = value_loss(value, batch.value, batch.ret, clip_range_vf)
        entropy_loss = log_prob.mean() if entropy is None else -entropy.mean()
        loss = torch.add(policy_loss, v_loss, alpha=self.vf_coef)  # a sum and a product in one operation
        if self.ent_coef != 0.0:  # most often it is: a term that costs time and changes nothing
            loss = loss + self.ent_coef * entropy_loss
        return loss, [part.detach() for part in (policy_loss, v_loss, entropy_loss, loss)], log_ratio.detach()

    def _update_metrics(
        self, rollout: Batch, seen: _Seen, clip_range: float, clip_range_vf: float | None
    ) -> dict[str, float]:
        policy_loss, v_loss, entropy_loss, last_loss = seen.loss_metrics()
        metrics = {
            "train/approx_kl": seen.approx_kl(),
            "train/clip_fraction": seen.clip_fraction(clip_range),
            "train/clip_range": clip_range,
            "train/entropy_loss": entropy_loss,
            "train/explained_variance": explained_variance(rollout.value, rollout.ret),
            "train/learning_rate": float(self.lr_schedulers().get_last_lr()[0]),  # type: ignore[union-attr]
            "train/loss": last_loss,
            "train/n_updates": self.counters.updates,
            "train/policy_gradient_loss": policy_loss,
            "train/value_loss": v_loss,
        }
        if clip_range_vf is not None:
            metrics["train/clip_range_vf"] = clip_range_vf
        if self.net.log_std is not None:
            metrics["train/std"] = float(self.net.log_std.detach().exp().mean())
        if self.counters.bad_updates:
            metrics["train/bad_updates"] = self.counters.bad_updates
        return metrics


@dataclass
class _Seen:
    """What the minibatches of an update leave for the log. Skipped ones leave nothing; of nothing, a mean is NaN.

    Args:
        losses: of every minibatch, as `PPO._loss` gives them.
        log_ratios: of every minibatch.
        last_epoch: index of the first minibatch of the last epoch.
    """

    losses: list[list[Tensor]] = field(default_factory=list)
    log_ratios: list[Tensor] = field(default_factory=list)
    last_epoch: int = 0

    def add(self, losses: list[Tensor], log_ratio: Tensor) -> None:
        self.losses.append(losses)
        self.log_ratios.append(log_ratio)

    def loss_metrics(self) -> tuple[float, float, float, float]:
        """Means of the policy's, the value's and the entropy's loss, and the whole loss of the last minibatch."""
        if not self.losses:
            return (math.nan,) * 4
        losses = torch.stack([part for parts in self.losses for part in parts]).view(len(self.losses), -1)
        policy_loss, v_loss, entropy_loss, _ = losses.mean(dim=0).tolist()
        return policy_loss, v_loss, entropy_loss, float(losses[-1, -1])

    def approx_kl(self) -> float:
        """Mean over the last epoch's minibatches, as SB3 reports it."""
        last = self.log_ratios[self.last_epoch :]
        return float(torch.stack([approximate_kl(log_ratio) for log_ratio in last]).mean()) if last else math.nan

    def clip_fraction(self, clip_range: float) -> float:
        """Mean over all minibatches."""
        return float(clip_fraction(self.log_ratios, clip_range)) if self.log_ratios else math.nan


def _policy_class(policy: str | type[ActorCriticPolicy]) -> type[ActorCriticPolicy]:
    if isinstance(policy, str):
        if policy in POLICIES:
            return POLICIES[policy]
        if "." not in policy and ":" not in policy:
            raise ConfigError(
                f"model.policy: '{policy}' is not one of {', '.join(POLICIES)}.{did_you_mean(policy, POLICIES)}"
            )
        policy = import_class(policy, "model.policy")
    if not (isinstance(policy, type) and issubclass(policy, ActorCriticPolicy)):
        raise ConfigError(f"model.policy: {policy} is not a subclass of stable-baselines3's ActorCriticPolicy.")
    return policy


def _write(batch: Any, t: int, obs: Any) -> None:
    if isinstance(batch, dict):
        for key, part in batch.items():
            part[t] = obs[key]
    else:
        batch[t] = obs


def _step_obs(obs: Any, t: int, device: torch.device) -> Any:
    if isinstance(obs, dict):
        return {key: part[t].to(device) for key, part in obs.items()}
    return obs[t].to(device)


def _slice(obs: Any, piece: slice) -> Any:
    return {key: part[piece] for key, part in obs.items()} if isinstance(obs, dict) else obs[piece]


def _stack(rows: list[Any]) -> Any:
    if isinstance(rows[0], dict):
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return np.stack(rows)
