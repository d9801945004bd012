"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347), with stable-baselines3's settings.

Shapes: T steps of a rollout, N environments, B = T * N, A action dimensions.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
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

from lit_rl.algorithms.minibatches import Numbers, Seen
from lit_rl.curriculum import CurriculumConfig
from lit_rl.data.rollout import Batch, Rollout, RolloutStorage
from lit_rl.envs.build import import_class
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError, Diverged, did_you_mean
from lit_rl.networks.actor_critic import ActorCritic, as_tensor, to_env
from lit_rl.ops.distributions import StateDependentNoise
from lit_rl.ops.gradients import clip_gradients, gradient_norm
from lit_rl.ops.losses import approximate_kl, clip_fraction, clipped_policy_loss, normalize_advantage, value_loss
from lit_rl.ops.returns import explained_variance, gae
from lit_rl.ops.schedules import ScheduleLike, as_schedule
from lit_rl.ops.streams import generator
from lit_rl.state.scheduled_lr import ScheduledLR
from lit_rl.training.evaluation import EvalConfig
from lit_rl.training.module import RLModule
from lit_rl.training.settings import resolve_policy_kwargs
from lit_rl.training.sharing import Piece, Sharing, check_pieces, gradient_row, spread_gradient

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
        deterministic_reduction: compute in fixed pieces and add them in a fixed order, so that any number of ranks
            gives the same bits. Slower; on the CPU with one thread.
        reduction_pieces: how many groups of environments these pieces belong to; every number of ranks that divides it
            gives the same.
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
        deterministic_reduction: bool = False,
        reduction_pieces: int = 4,
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
        self.deterministic_reduction = deterministic_reduction
        self.reduction_pieces = reduction_pieces
        self._check_settings()
        self._net: ActorCritic | None = None
        self._storage: RolloutStorage | None = None
        self._sharing: Sharing | None = None

    def _check_settings(self) -> None:
        for name in ("n_steps", "batch_size", "n_epochs", "max_bad_updates", "reduction_pieces"):
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

    def check_ranks(self) -> None:
        if self.deterministic_reduction:
            check_pieces(self.reduction_pieces, self.ranks, self.env_config.n_envs)

    def on_fit_start(self) -> None:
        if self.deterministic_reduction:
            torch.set_num_threads(1)  # how work falls to threads depends on how many ranks share the cores

    @property
    def in_step(self) -> bool:
        return self.deterministic_reduction

    @property
    def sharing(self) -> Sharing:
        """How the ranks share an update."""
        if self._sharing is None:
            n_envs = self.env_config.n_envs
            self._sharing = Sharing(self.ranks, n_envs, self.reduction_pieces if self.deterministic_reduction else None)
        return self._sharing

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
    def collect(self) -> Rollout:
        """Play T steps in every environment.

        The loop asks only for actions. Values and log-probabilities of all steps come from one pass afterwards, with
        the same weights. As in SB3, dropout and batch norm stand in evaluation mode here.
        """
        envs, net, policy, normalizer = self.build_envs(), self.net, self.policy, self.normalizer
        act, groups = self._act, self.sharing.groups
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
        with self.full_precision():
            for t in range(self.n_steps):
                _write(storage.obs_np, t, obs)
                now, drawn = _step_obs(storage.obs, t, device), noise[self._noise_row(t)]
                if not self.deterministic_reduction:
                    action = act(net, now, drawn)
                else:
                    action = torch.cat([act(net, _rows(now, group), drawn[group].clone()) for group in groups])
                actions.append(action)
                result = self.step_envs(to_env(action.cpu().numpy(), policy), t)  # type: ignore[arg-type]
                done = result.terminated | result.truncated
                normalizer.update_obs(result.obs)
                obs = normalizer.normalize_obs(result.obs)
                rewards[t] = result.reward
                storage.done[t] = done
                for row, final in result.finals:
                    if not result.terminated[row]:
                        truncated.append((t, row))
                        final_obs.append(normalizer.normalize_obs(final))
                episodes += [(t, episode) for episode in result.episodes]
        storage.action.copy_(torch.stack(actions))
        storage.reward[:] = normalizer.scale_rewards(rewards, storage.done)
        self._obs, self._policy_obs = result.obs, obs
        own = self._evaluate(storage, truncated, final_obs)
        if self.ranks.alone:
            self.finish_rollout(self.n_steps, episodes, None)
            return Rollout(**vars(own), all_value=own.value, all_advantage=own.advantage, all_ret=own.ret)
        told = self.finish_rollout(self.n_steps, episodes, self._told(own))
        everywhere = torch.from_numpy(np.concatenate(told, axis=2)).flatten(1).to(device)  # [3, T, N] to [3, B]
        return Rollout(**vars(own), **dict(zip(("all_value", "all_advantage", "all_ret"), everywhere, strict=True)))

    @staticmethod
    def _act(net: ActorCritic, obs: Any, noise: Tensor) -> Tensor:
        """Actions [N, ...] for one step, drawn with noise [N, ...]."""
        head, latent = net.actor(obs)
        return net.distribution.sample(head, net.log_std, latent, noise)

    def _told(self, own: Batch) -> np.ndarray:
        """What the other ranks need of this one's rollout: values, advantages and returns, [3, T, N]."""
        numbers = torch.stack([own.value, own.advantage, own.ret])
        return numbers.view(3, self.n_steps, -1).cpu().numpy()

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
            rng = generator(self.seed, "actions", offset + i, self.counters.iterations)
            noise[:, i] = torch.from_numpy(distribution.noise(rng, rows))
        return noise.to(self.device)

    @property
    def _sde_every(self) -> int:
        return self.sde_sample_freq if self.sde_sample_freq > 0 else self.n_steps

    def _noise_row(self, t: int) -> int:
        return t // self._sde_every if self.use_sde else t

    def _evaluate(self, storage: RolloutStorage, truncated: list[tuple[int, int]], final_obs: list[Any]) -> Batch:
        """Values, log-probabilities, advantages and returns of a full storage.

        Groups of environments that are computed together are computed apart from the others.
        """
        steps, device = len(storage.reward), self.device
        value, log_prob = torch.empty_like(storage.log_prob), storage.log_prob
        last_value = np.empty(storage.reward.shape[1], dtype=np.float32)
        current = as_tensor(self._policy_obs, device)
        for group in self.sharing.groups:
            values, log_probs = self._values_and_log_probs(storage.flat_obs(group), storage.flat_action(group))
            value[:, group], log_prob[:, group] = values.view(steps, -1), log_probs.view(steps, -1)
            last_value[group] = self.net.critic(_rows(current, group)).float().cpu().numpy()
            ends = [i for i, (_, row) in enumerate(truncated) if group.start <= row < group.stop]
            if ends:
                final = as_tensor(_stack([final_obs[i] for i in ends]), device)
                for i, v in zip(ends, self.net.critic(final).float().cpu().numpy(), strict=True):
                    storage.reward[truncated[i]] += self.gamma * v
        advantage, ret = gae(storage.reward, value.numpy(), storage.done, last_value, self.gamma, self.gae_lambda)
        flat = (log_prob, value, torch.from_numpy(advantage), torch.from_numpy(ret))
        return Batch(
            as_tensor(storage.flat_obs(), device),
            storage.flat_action().to(device),
            *(numbers.reshape(-1).to(device, copy=True) for numbers in flat),
        )

    def _values_and_log_probs(self, obs: Any, action: Tensor) -> tuple[Tensor, Tensor]:
        """Values and log-probabilities, [B], of actions [B, ...] taken for observations [B, ...]."""
        net, values, log_probs = self.net, [], []
        obs, action = as_tensor(obs, self.device), action.to(self.device)
        for start in range(0, len(action), _EVALUATE_CHUNK):
            piece = slice(start, start + _EVALUATE_CHUNK)
            head, latent, value = net.actor_critic(_slice(obs, piece))
            values.append(value)
            log_probs.append(net.distribution.log_prob_entropy(head, net.log_std, latent, action[piece])[0])
        return torch.cat(values).float().cpu(), torch.cat(log_probs).float().cpu()

    # -- update ------------------------------------------------------------------------------------------------

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Several epochs of minibatch steps on one rollout; metrics as SB3 logs them."""
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        scheduler: Any = self.lr_schedulers()
        scheduler.set_timestep(self.counters.timesteps)
        self.policy.train()
        progress = self.progress_remaining
        clip_range = self.clip_range(progress)
        clip_range_vf = None if self.clip_range_vf is None else self.clip_range_vf(progress)
        rng = generator(self.seed, "minibatches", self.counters.iterations)
        parameters = list(self.policy.parameters())
        backward, scaler = self.backward_function(), self.scaler
        seen = Seen()
        going_on = True
        for _ in range(self.n_epochs):
            seen.last_epoch = len(seen.minibatches)
            for pieces in self._minibatches(rollout, rng.permutation(len(rollout.all_value))):
                numbers = self._gradient(pieces, parameters, backward, clip_range, clip_range_vf)
                if self.target_kl is not None and float(numbers.kl()) > 1.5 * self.target_kl:
                    seen.add(numbers)
                    going_on = False
                    break
                if scaler is not None:
                    scaler.unscale_(optimizer)
                gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
                norm = gradient_norm(gradients)
                if not (math.isfinite(norm) and math.isfinite(float(numbers.losses[-1]))):
                    self._skip_bad_update(scaler)
                    continue
                clip_gradients(gradients, norm, self.max_grad_norm)
                if scaler is None:
                    optimizer.step()
                else:
                    scaler.step(optimizer)
                    scaler.update()
                seen.add(numbers)
                self.counters.gradient_steps += 1
                self.counters.bad_updates_in_a_row = 0
            self.counters.updates += 1
            if not going_on:
                break
        return self._update_metrics(rollout, seen, clip_range, clip_range_vf)

    def _minibatches(self, rollout: Rollout, order: np.ndarray) -> Iterator[list[Piece]]:
        """One epoch's minibatches, each as the pieces of it that this rank computes.

        Args:
            rollout: of this rank.
            order: of the transitions of all ranks.
        """
        scale = normalize_advantage if self.normalize_advantage else lambda advantage: advantage
        if self.sharing.whole:
            for batch in rollout.minibatches(torch.from_numpy(order).to(self.device), self.batch_size):
                yield [Piece(batch, scale(batch.advantage), 1.0)]
            return
        for start in range(0, len(order), self.batch_size):
            chunk = order[start : start + self.batch_size]
            advantage = scale(rollout.all_advantage[torch.from_numpy(chunk).to(self.device)])
            yield [
                Piece(
                    rollout.select(torch.from_numpy(own).to(self.device)),
                    advantage[torch.from_numpy(where).to(self.device)],
                    len(own) / len(chunk),
                )
                for where, own in self.sharing.pieces(chunk)
            ]

    def _gradient(
        self,
        pieces: list[Piece],
        parameters: list[nn.Parameter],
        backward: Callable[[Tensor], Any],
        clip_range: float,
        clip_range_vf: float | None,
    ) -> Numbers:
        """Leave the gradient of a minibatch in the parameters, whole and not yet clipped."""
        rows = []
        for piece in pieces:
            for parameter in parameters:
                parameter.grad = None
            numbers = torch.zeros(6, device=self.device)
            if len(piece.batch):
                loss, losses, log_ratio = self._loss(piece, clip_range, clip_range_vf)
                if self.sharing.whole:
                    backward(loss)
                    return Numbers(losses, log_ratio)
                backward(loss * piece.weight)
                clipped = clip_fraction([log_ratio], clip_range)
                numbers = torch.stack([*losses, approximate_kl(log_ratio), clipped]) * piece.weight
            rows.append(gradient_row(parameters, numbers))
        numbers = spread_gradient(self.sharing.total(torch.stack(rows)), parameters)
        return Numbers(list(numbers[:4]), shared_kl=numbers[4], shared_clipped=numbers[5])

    def _skip_bad_update(self, scaler: torch.amp.GradScaler | None) -> None:
        """Count a minibatch whose loss or gradient is not finite; weights and optimizer stay as they are.

        A gradient that overflows in half precision is what the scaler is there for, and counts once it cannot scale
        lower.

        Raises:
            Diverged: it is the last of `max_bad_updates` in a row.
        """
        counters = self.counters
        if scaler is not None:
            scaler.update()
            if scaler.get_scale() >= 1.0:
                return
        counters.bad_updates += 1
        counters.bad_updates_in_a_row += 1
        if counters.bad_updates_in_a_row >= self.max_bad_updates:
            raise Diverged(
                f"loss or gradient was not finite in {counters.bad_updates_in_a_row} minibatches in a row "
                f"(model.max_bad_updates), the last at timestep {counters.timesteps}; the last checkpoint stands. "
                "Try a lower model.learning_rate or model.max_grad_norm, or env.normalize for observations and rewards."
            )

    def _loss(
        self, piece: Piece, clip_range: float, clip_range_vf: float | None
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """The mean loss of a piece; for the log, the policy's, value's, entropy's and whole loss; log-ratios [B]."""
        net, batch = self.net, piece.batch
        head, latent, value = net.actor_critic(batch.obs)
        log_prob, entropy = net.distribution.log_prob_entropy(head, net.log_std, latent, batch.action)
        log_ratio = log_prob - batch.log_prob
        policy_loss = clipped_policy_loss(piece.advantage, torch.exp(log_ratio), clip_range)
        v_loss = value_loss(value, batch.value, batch.ret, clip_range_vf)
        entropy_loss = log_prob.mean() if entropy is None else -entropy.mean()
        loss = torch.add(policy_loss, v_loss, alpha=self.vf_coef)  # a sum and a product in one operation
        if self.ent_coef != 0.0:  # most often it is: a term that costs time and changes nothing
            loss = loss + self.ent_coef * entropy_loss
        return loss, [part.detach() for part in (policy_loss, v_loss, entropy_loss, loss)], log_ratio.detach()

    def _update_metrics(
        self, rollout: Rollout, seen: Seen, clip_range: float, clip_range_vf: float | None
    ) -> dict[str, float]:
        policy_loss, v_loss, entropy_loss, last_loss = seen.loss_metrics()
        metrics = {
            "train/approx_kl": seen.approx_kl(),
            "train/clip_fraction": seen.clip_fraction(clip_range),
            "train/clip_range": clip_range,
            "train/entropy_loss": entropy_loss,
            "train/explained_variance": explained_variance(rollout.all_value, rollout.all_ret),
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


def _rows(obs: Any, rows: slice) -> Any:
    """Some rows of a batch, in memory of their own: where an array begins may change the last bits of a product."""
    return {key: part[rows].clone() for key, part in obs.items()} if isinstance(obs, dict) else obs[rows].clone()


def _slice(obs: Any, piece: slice) -> Any:
    return {key: part[piece] for key, part in obs.items()} if isinstance(obs, dict) else obs[piece]


def _stack(rows: list[Any]) -> Any:
    if isinstance(rows[0], dict):
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return np.stack(rows)
