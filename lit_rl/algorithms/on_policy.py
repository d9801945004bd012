"""What PPO, A2C and TRPO share: SB3's actor-critic policies, and rollouts with values, advantages and returns.

Shapes: T steps of a rollout, N environments, B = T * N, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy, MultiInputActorCriticPolicy
from torch import Tensor, nn
from torch.optim import Optimizer

from lit_rl.algorithms.gradients import TwoWays
from lit_rl.curriculum import CurriculumConfig
from lit_rl.data.rollout import Batch, Rollout, RolloutStorage
from lit_rl.data.scores import AdvantageScores
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.masks import choices
from lit_rl.errors import ConfigError
from lit_rl.networks.actor_critic import ActorCritic, Evaluated, Slope, as_tensor, to_env, with_mask
from lit_rl.networks.dense_actor_critic import DenseActorCritic
from lit_rl.networks.kwargs import resolve_policy_kwargs
from lit_rl.networks.policies import check_observations, make_policy, policy_class
from lit_rl.networks.small_images import refuse_small_image
from lit_rl.networks.tensors import ACTOR_CRITIC, Table, within
from lit_rl.ops.draws import BLOCK, Draws, SideBySide
from lit_rl.ops.limits import Limit, above, at_least, between
from lit_rl.ops.losses import normalize_advantage
from lit_rl.ops.returns import explained_variance, gae
from lit_rl.ops.schedules import ScheduleLike, as_schedule
from lit_rl.ops.tree import leaves, tree_map, write_at
from lit_rl.state.parts import Part
from lit_rl.training.config import EvalConfig, Fast
from lit_rl.training.contract import Masks
from lit_rl.training.sharing import InPieces, Whole, check_pieces, rows_of_tree, share

_SHORT = 16
"""Steps of a rollout, up to which the noise of several rollouts is drawn at once."""


class OnPolicy(TwoWays):
    """An actor-critic that learns from whole rollouts of its current policy. A subclass defines `update`.

    Args: see `PPO`, whose settings these are too.
    """

    POLICIES: ClassVar[Mapping[str, type[Any]]] = {
        "MlpPolicy": ActorCriticPolicy,
        "CnnPolicy": ActorCriticCnnPolicy,
        "MultiInputPolicy": MultiInputActorCriticPolicy,
    }
    LIMITS: ClassVar[Mapping[str, Limit]] = {
        "learning_rate": at_least(0),
        "n_steps": at_least(1),
        "gae_lambda": between(0, 1),
        "vf_coef": at_least(0),
        "max_grad_norm": above(0, infinite=True),
        "sde_sample_freq": at_least(1, besides=(-1, 0)),
        "reduction_pieces": at_least(1),
    }
    MASKS: ClassVar[Masks] = "taken"
    PARTS: ClassVar[Mapping[str, Part]] = {"scores": Part("advantages of episodes in flight, where a curriculum asks")}
    TENSORS: ClassVar[Table] = within("policy.", ACTOR_CRITIC)
    SCRATCH: ClassVar[Mapping[str, str]] = {
        "storage": "filled anew by every rollout",
        "noises": "made from seed and counters",
        "net": "made of the policy, whose parameters it has",
        "sharing": "made from settings and ranks",
    }

    def __init__(
        self,
        env: EnvConfig,
        policy: str,
        learning_rate: ScheduleLike,
        n_steps: int,
        gamma: float,
        gae_lambda: float,
        normalize_advantage: bool,
        ent_coef: float,
        vf_coef: float,
        max_grad_norm: float,
        use_sde: bool,
        sde_sample_freq: int,
        policy_kwargs: dict[str, Any] | None,
        deterministic_reduction: bool,
        reduction_pieces: int,
        fast: Fast,
        max_bad_updates: int,
        cycles_per_iteration: int,
        total_timesteps: int,
        seed: int,
        curriculum: CurriculumConfig | None,
        evaluation: EvalConfig | None,
    ) -> None:
        super().__init__(
            env, total_timesteps, seed, gamma, curriculum, evaluation, max_bad_updates, cycles_per_iteration,
            lockstep=deterministic_reduction,
        )  # fmt: skip
        self.policy_class = policy_class(policy, self.POLICIES)
        self.policy_kwargs = resolve_policy_kwargs(policy_kwargs, self.policy_class)
        self.learning_rate = as_schedule(learning_rate, "model.learning_rate")
        self.n_steps, self.gae_lambda, self.normalize_advantage = n_steps, gae_lambda, normalize_advantage
        self.ent_coef, self.vf_coef, self.max_grad_norm = ent_coef, vf_coef, max_grad_norm
        self.use_sde, self.sde_sample_freq = use_sde, sde_sample_freq
        self.deterministic_reduction, self.reduction_pieces = deterministic_reduction, reduction_pieces
        self.fast = fast
        asked = self.curriculum is not None and self.curriculum.wants_scores
        self.scores = AdvantageScores(self.env_config.n_envs) if asked else None
        if not use_sde and sde_sample_freq != -1:
            raise ConfigError("model.sde_sample_freq needs model.use_sde: true.")
        if self.policy_kwargs.get("squash_output") and not use_sde:
            raise ConfigError("model.policy_kwargs.squash_output needs model.use_sde: true.")

    # -- networks ------------------------------------------------------------------------------------------------

    def build_policy(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> nn.Module:
        if self.use_sde and not isinstance(action_space, spaces.Box):
            raise ConfigError(f"model.use_sde is for Box actions; this environment has {action_space}.")
        own = self.policy_kwargs.get("features_extractor_class")
        check_observations(self.policy_class, self.POLICIES, observation_space, own)
        refuse_small_image(observation_space, self.policy_class, self.policy_kwargs)
        policy: ActorCriticPolicy = make_policy(
            self.policy_class, observation_space, action_space, self.learning_rate,
            policy_kwargs=self.policy_kwargs, **({"use_sde": True} if self.use_sde else {}),
        )  # fmt: skip
        self.net = self.net_of(policy)
        return policy

    def net_of(self, policy: Any) -> ActorCritic:
        """What rollout and update ask of a policy."""
        return ActorCritic(policy, self.env_config.action_masks)

    def dense_net_of(self, policy: Any) -> ActorCritic | str:
        """The same with gradients by hand, or why the policy is none for it."""
        return DenseActorCritic.of(policy, self.env_config.action_masks)

    def by_hand(self) -> str | None:
        net = self.dense_net_of(self.policy)
        if isinstance(net, str):
            return net
        self.net = net
        return None

    def networks_of_update(self) -> tuple[list[Any], list[Any]]:
        return [self.net], []

    def make_optimizers(self) -> list[Optimizer]:
        return [self.optimizer_of(self.policy.parameters(), self.net)]

    def check_ranks(self) -> None:
        if self.fast == "compile" and not (self.ranks.alone and not self.deterministic_reduction):
            raise ConfigError(
                "model.fast: compile is for one rank without model.deterministic_reduction: pieces of a minibatch have "
                "any size, and each would be compiled; use auto or false."
            )
        if self.deterministic_reduction:
            check_pieces(self.reduction_pieces, self.ranks, self.env_config.n_envs)

    def on_fit_start(self) -> None:
        if self.deterministic_reduction:
            torch.set_num_threads(1)  # how work falls to threads depends on how many ranks share the cores

    # -- rollout -------------------------------------------------------------------------------------------------

    def _prepare(self) -> tuple[RolloutStorage, Whole | InPieces]:
        """Memory for a rollout, and how the ranks share its update; made at the first one."""
        if not hasattr(self, "storage"):
            space, n_envs = self.normalizer.policy_space(self.observation_space), self.env_config.n_envs
            own = len(self.ranks.rows(n_envs))
            self.storage = RolloutStorage(self.n_steps, own, self.stored_space(space), self.action_space)
            self.noises = self._action_noises()
            self.sharing = share(self.ranks, n_envs, self.reduction_pieces if self.deterministic_reduction else None)
        return self.storage, self.sharing

    def stored_space(self, policy_space: spaces.Space[Any]) -> spaces.Space[Any]:
        """Of what networks take for one step, given that of observations as the policy sees them."""
        if not self.env_config.action_masks:
            return policy_space
        return spaces.Dict(with_mask(policy_space, spaces.Box(0, 1, (sum(choices(self.action_space)),), np.bool_)))

    def seen(self, policy_obs: Any, masks: Any) -> Any:
        """What networks take: observations, with the masks where there are some (`None` where all is allowed)."""
        if not self.env_config.action_masks:
            return policy_obs
        if masks is None:
            masks = np.ones((len(leaves(policy_obs)[0]), sum(choices(self.action_space))), dtype=np.bool_)
        return with_mask(policy_obs, masks)

    def look(self, t: int) -> None:
        """Store what networks see at step t."""
        write_at(self.storage.obs_np, t, self.seen(self.play.policy_obs, self.play.masks))

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Play T steps in every environment; values and log-probabilities come from one pass afterwards.

        As in SB3, dropout and batch norm stand in evaluation mode here.
        """
        play, normalizer = self.play, self.normalizer
        storage, _ = self._prepare()
        self.training_mode(False)
        act = self.actor()
        rewards = np.empty(storage.reward.shape)
        truncated: list[tuple[int, int]] = []
        final_obs: list[Any] = []
        with self.full_precision():
            for t in range(self.n_steps):
                self.look(t)
                result = play.step(act(t))
                rewards[t] = result.reward
                storage.done[t] = result.terminated | result.truncated
                for row, final in result.finals:
                    if not result.terminated[row]:
                        truncated.append((t, row))
                        final_obs.append(normalizer.normalize_obs(final))
        storage.reward[:] = normalizer.scale_rewards(rewards, storage.done)
        current = as_tensor(self.seen(play.policy_obs, None), self.device)
        own = self._evaluate(storage, current, truncated, final_obs)
        if self.ranks.alone:
            play.finish(None)
            return Rollout(**vars(own), all_value=own.value, all_advantage=own.advantage, all_ret=own.ret)
        shared = play.finish(torch.stack([own.value, own.advantage, own.ret]).view(3, self.n_steps, -1).cpu().numpy())
        everywhere = torch.from_numpy(np.concatenate(shared, axis=2)).flatten(1).to(self.device)  # [3, T, N] to [3, B]
        return Rollout(**vars(own), **dict(zip(("all_value", "all_advantage", "all_ret"), everywhere, strict=True)))

    def actor(self) -> Callable[[int], np.ndarray]:
        """What stores the actions of a step, for what is stored of it, and gives them as the environments take them."""
        storage, sharing, policy, every = self.storage, self.sharing, self.policy, self.noise_every
        noise_np = np.ascontiguousarray(self.noises[self.counters.iterations].swapaxes(0, 1))  # [draws, N, ...]
        noise = torch.tensor(noise_np, device=self.device)
        quick = self.net.quick(len(storage.log_prob[0])) if sharing.acts_at_once else None
        if storage.features is None and sharing.acts_at_once:
            storage.features = self.net.room_for_features(*storage.log_prob.shape)
        features = storage.features

        def act(t: int) -> np.ndarray:
            actions: np.ndarray = storage.action_np[t]
            if quick is not None:
                actions[...] = quick(tree_map(lambda part: part[t], storage.obs_np), noise_np[t // every])
            else:
                now = tree_map(lambda part: part[t].to(self.device), storage.obs)
                room = None if features is None else features[t]
                storage.action[t] = sharing.act(lambda obs, drawn: self._act(obs, drawn, room), now, noise[t // every])
            taken: np.ndarray = to_env(actions, policy)  # type: ignore[arg-type]
            return taken

        return act

    def _act(self, obs: Any, noise: Tensor, room: Tensor | None) -> Tensor:
        """Actions [N, ...] for one step, drawn with noise [N, ...]; see `ActorCritic.actor`."""
        head, latent = self.net.actor(obs, room)
        return self.net.distribution.sample(head, self.net.log_std, latent, noise)

    def policy_actions(self, policy_obs: Any, rng: np.random.Generator | None = None) -> np.ndarray:
        return self.policy_step(policy_obs, rng)[0]

    @torch.no_grad()
    def policy_step(
        self,
        policy_obs: Any,
        rng: np.random.Generator | None = None,
        memory: Any = None,
        begun: np.ndarray | None = None,
        masks: np.ndarray | None = None,
        exploring: bool = True,
    ) -> tuple[np.ndarray, Any]:
        net = self.net
        head, latent = net.actor(as_tensor(self.seen(policy_obs, masks), self.device))
        if rng is None:
            action = net.distribution.mode(head)
        else:
            noise = torch.from_numpy(net.distribution.noise(rng, len(head))).to(self.device)
            action = net.distribution.sample(head, net.log_std, latent, noise)
        return to_env(action.cpu().numpy(), self.policy), memory  # type: ignore[arg-type]

    @property
    def noise_every(self) -> int:
        """Steps that a draw of noise lasts."""
        if not self.use_sde:
            return 1
        return self.sde_sample_freq if self.sde_sample_freq > 0 else self.n_steps

    def _action_noises(self) -> SideBySide:
        """Noise of whole rollouts by their number, [N, draws, ...]: a stream an environment, by its global index."""
        draws, distribution = -(-self.n_steps // self.noise_every), self.net.distribution
        size = 1 if self.use_sde or draws > _SHORT else BLOCK // draws  # matrices of gSDE are large

        def draw(rng: np.random.Generator, rollouts: int) -> np.ndarray:
            return distribution.noise(rng, rollouts * draws).reshape(rollouts, draws, *distribution.noise_shape)

        rows = self.ranks.rows(self.env_config.n_envs)
        return SideBySide([Draws(self.seed, "actions", i, draw=draw, size=size) for i in rows])

    def _evaluate(
        self, storage: RolloutStorage, current: Any, truncated: list[tuple[int, int]], final_obs: list[Any]
    ) -> Batch:
        """Values, log-probabilities, advantages and returns of a full storage.

        Groups of environments that are computed together are computed apart from the others.

        Args:
            storage: of the rollout.
            current: what the environments show after it, [N, ...].
            truncated: (step, environment) at which an episode was cut off.
            final_obs: the last observation of each.
        """
        steps, device = self.n_steps, self.device
        value, log_prob = torch.empty_like(storage.log_prob), storage.log_prob
        last_value = np.empty(storage.reward.shape[1], dtype=np.float32)
        for group in self.sharing.groups:
            values, log_probs = self.judged(storage, group)
            value[:, group], log_prob[:, group] = values.view(steps, -1), log_probs.view(steps, -1)
            last_value[group] = self.values_now(rows_of_tree(current, group), group).float().cpu().numpy()
            ends = [i for i, (_, row) in enumerate(truncated) if group.start <= row < group.stop]
            if ends:
                last = tree_map(lambda *parts: np.stack(parts), *(final_obs[i] for i in ends))
                final = as_tensor(self.seen(last, None), device)
                values = self.values_at_ends(final, [truncated[i] for i in ends])
                for i, v in zip(ends, values.float().cpu().numpy(), strict=True):
                    storage.reward[truncated[i]] += self.gamma * v
        advantage, ret = gae(storage.reward, value.numpy(), storage.done, last_value, self.gamma, self.gae_lambda)
        flat = (log_prob, value, torch.from_numpy(advantage), torch.from_numpy(ret))
        return Batch(
            as_tensor(storage.flat_obs(), device),
            storage.flat_action().to(device),
            *(numbers.reshape(-1).to(device, copy=True) for numbers in flat),
        )

    def values_now(self, current: Any, group: slice) -> Tensor:
        """Values [N] of what environments at some positions show after a rollout, [N, ...]."""
        return self.net.critic(current)

    def values_at_ends(self, final: Any, at: list[tuple[int, int]]) -> Tensor:
        """Values of the last observations of episodes that were cut off at (step, environment)."""
        return self.net.critic(final)

    def judged(self, storage: RolloutStorage, group: slice) -> tuple[Tensor, Tensor]:
        """Values and log-probabilities of a rollout's actions in some environments, [B] each."""
        obs, action, features = storage.flat_obs(group), storage.flat_action(group).to(self.device), storage.features
        if features is not None:
            return self.net.values_and_log_probs_of(features[:, group].flatten(0, 1), obs, action)
        return self.net.values_and_log_probs(as_tensor(obs, self.device), action)

    def episode_scores(self, experience: Rollout) -> list[float]:
        """The mean absolute advantage of each."""
        assert self.scores is not None
        ended = [(at, episode.env_index) for at, episode in zip(self.play.ended_at, self.play.ended, strict=True)]
        advantage = experience.all_advantage.view(self.n_steps, -1).cpu().numpy()
        return self.scores.take(advantage, ended, self.play.broken)

    def forget_episodes(self, envs: list[int]) -> None:
        if self.scores is not None:
            self.scores.forget(envs)

    # -- update --------------------------------------------------------------------------------------------------

    def scale(self, advantage: Tensor) -> Tensor:
        """A minibatch's advantages [B] as the loss takes them."""
        return normalize_advantage(advantage) if self.normalize_advantage else advantage

    def whole_loss(
        self, now: Evaluated, policy_loss: Tensor, v_loss: Tensor, slope: Slope
    ) -> tuple[list[Tensor], Slope]:
        """The policy's loss, the value's and the entropy's, and their weighted sum; and the slope of that.

        Args:
            now: what the losses are made of.
            policy_loss, v_loss: two of the losses.
            slope: of the two, each by itself.
        """
        entropy_loss = now.log_prob.mean() if now.entropy is None else now.entropy.mean().neg_()
        whole = torch.add(policy_loss, v_loss, alpha=self.vf_coef)
        slope.value.mul_(self.vf_coef)
        if self.ent_coef != 0.0:
            whole = torch.add(whole, entropy_loss, alpha=self.ent_coef)
            each = self.ent_coef / len(now.log_prob)
            if now.entropy is None:
                slope.log_prob.add_(each)
            else:
                slope.entropy = -each
        return [policy_loss, v_loss, entropy_loss, whole], slope

    def common_metrics(self, rollout: Rollout) -> dict[str, float]:
        """What every on-policy update logs, by SB3's names."""
        metrics = {
            "train/explained_variance": explained_variance(rollout.all_value, rollout.all_ret),
            "train/learning_rate": float(self.lr_schedulers().get_last_lr()[0]),  # type: ignore[union-attr]
            "train/n_updates": self.counters.updates,
        }
        if self.net.log_std is not None:
            metrics["train/std"] = float(self.net.log_std.detach().exp().mean())
        if self.counters.bad_updates:
            metrics["train/bad_updates"] = self.counters.bad_updates
        return metrics
