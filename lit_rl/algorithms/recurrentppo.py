"""PPO with a policy that remembers (LSTM), with sb3-contrib's settings.

Shapes: T steps of a rollout, N environments, B = T * N, K numbers that are remembered of an episode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import (
    RecurrentActorCriticCnnPolicy,
    RecurrentActorCriticPolicy,
    RecurrentMultiInputActorCriticPolicy,
)
from torch import Tensor, nn

from lit_rl.algorithms.ppo import PPO
from lit_rl.curriculum import CurriculumConfig
from lit_rl.data.memory import Memory
from lit_rl.data.rollout import RolloutStorage
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError
from lit_rl.networks.actor_critic import as_tensor, to_env
from lit_rl.networks.recurrent import RecurrentActorCritic, State
from lit_rl.networks.tensors import Table, within
from lit_rl.ops.schedules import ScheduleLike
from lit_rl.ops.tree import leaves, tree_map, write_at
from lit_rl.state.parts import Part
from lit_rl.training.config import EvalConfig, Fast


class RecurrentPPO(PPO):
    """PPO whose actor and critic have LSTMs, for every action space SB3's PPO takes.

    A minibatch is `batch_size` transitions in the order (environment, time), begun at a random one, as in sb3-contrib:
    the sequences in it go on from what was remembered then. With `env.action_masks` it is masked as well.

    Args:
        env: the environments.
        policy: `MlpLstmPolicy`, `CnnLstmPolicy`, `MultiInputLstmPolicy`, or the import path of a
            `RecurrentActorCriticPolicy` of sb3-contrib's.
        fast: gradients of LSTMs are autograd's; `auto` and `false` are the same here.
    """

    POLICIES: ClassVar[Mapping[str, type[Any]]] = {
        "MlpLstmPolicy": RecurrentActorCriticPolicy,
        "CnnLstmPolicy": RecurrentActorCriticCnnPolicy,
        "MultiInputLstmPolicy": RecurrentMultiInputActorCriticPolicy,
    }
    PARTS: ClassVar[Mapping[str, Part]] = {"memory": Part("what the policy remembers of episodes in flight", "rank")}
    SCRATCH: ClassVar[Mapping[str, str]] = {"values": "filled anew by every rollout"}
    TENSORS: ClassVar[Table] = within("policy.", {"lstm_critic.": "value", "critic.": "value"})
    net: RecurrentActorCritic

    def __init__(
        self,
        env: EnvConfig,
        policy: str = "MlpLstmPolicy",
        learning_rate: ScheduleLike = 3e-4,
        n_steps: int = 128,
        batch_size: int = 128,
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
        cycles_per_iteration: int = 1,
        policy_kwargs: dict | None = None,  # type: ignore[type-arg]
        total_timesteps: int = 1_000_000,
        seed: int = 0,
        curriculum: CurriculumConfig | None = None,
        evaluation: EvalConfig | None = None,
    ) -> None:
        super().__init__(
            env, policy, learning_rate, n_steps, batch_size, n_epochs, gamma, gae_lambda, clip_range, clip_range_vf,
            normalize_advantage, ent_coef, vf_coef, max_grad_norm, use_sde, sde_sample_freq, target_kl, fast,
            max_bad_updates, cycles_per_iteration=cycles_per_iteration, policy_kwargs=policy_kwargs,
            total_timesteps=total_timesteps, seed=seed, curriculum=curriculum, evaluation=evaluation,
        )  # fmt: skip

    # -- networks ------------------------------------------------------------------------------------------------

    def build_policy(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> nn.Module:
        kwargs = self.policy_kwargs
        if kwargs.get("shared_lstm") and kwargs.get("enable_critic_lstm", True):
            raise ConfigError("model.policy_kwargs.shared_lstm: true needs enable_critic_lstm: false beside it.")
        policy: Any = super().build_policy(observation_space, action_space)
        self.net = RecurrentActorCritic(policy, self.env_config.action_masks)
        self.memory = Memory(len(self.ranks.rows(self.env_config.n_envs)), self.net.remembered)
        return policy  # type: ignore[no-any-return]

    def by_hand(self) -> str | None:
        return "LSTMs have none"

    def _compile(self) -> str | None:
        return "sequences have any length, and each would be compiled"

    def forget_episodes(self, envs: list[int]) -> None:
        super().forget_episodes(envs)
        own = self.ranks.rows(self.env_config.n_envs)
        self.memory.forget(env - own.start for env in envs if env in own)

    # -- rollout -------------------------------------------------------------------------------------------------

    def stored_space(self, policy_space: spaces.Space[Any]) -> spaces.Space[Any]:
        flag: Any = spaces.Box(0, 1, (), np.bool_)
        memory = spaces.Box(-np.inf, np.inf, (self.net.remembered,), np.float32)
        seen = super().stored_space(policy_space)
        return spaces.Dict({"seen": seen, "memory": memory, "start": flag, "begin": flag})

    def look(self, t: int) -> None:
        storage, memory = self.storage, self.memory
        if t > 0:
            memory.start = torch.from_numpy(storage.done[t - 1].copy())
        write_at(storage.obs_np["seen"], t, self.seen(self.play.policy_obs, self.play.masks))
        storage.obs["memory"][t], storage.obs["start"][t] = memory.values, memory.start
        storage.obs["begin"][t] = True if t == 0 else memory.start

    def actor(self) -> Callable[[int], np.ndarray]:
        storage, net, every = self.storage, self.net, self.noise_every
        noise = torch.tensor(np.ascontiguousarray(self.noises[self.counters.iterations].swapaxes(0, 1))).to(self.device)
        self.values = torch.empty_like(storage.log_prob)

        def act(t: int) -> np.ndarray:
            now = tree_map(lambda part: part[t].to(self.device), storage.obs)
            head, latent, self.values[t], memory = net.step(now["seen"], now["memory"], now["start"])
            action = net.distribution.sample(head, net.log_std, latent, noise[t // every])
            storage.action[t] = action
            storage.log_prob[t] = net.distribution.log_prob_entropy(head, net.log_std, latent, action)[0]
            self.memory.values = memory.cpu()
            taken: np.ndarray = to_env(storage.action_np[t], self.policy)  # type: ignore[arg-type]
            return taken

        return act

    def judged(self, storage: RolloutStorage, group: slice) -> tuple[Tensor, Tensor]:
        return self.values[:, group], storage.log_prob[:, group].clone()

    def values_now(self, current: Any, group: slice) -> Tensor:
        self.memory.start = torch.from_numpy(self.storage.done[-1].copy())
        memory, start = self.memory.values[group].to(self.device), self.memory.start[group].to(self.device)
        return self.net.value(current, memory, start)

    def values_at_ends(self, final: Any, at: list[tuple[int, int]]) -> Tensor:
        after = [*self.storage.obs["memory"][1:], self.memory.values]
        memory = torch.stack([after[t][row] for t, row in at]).to(self.device)
        return self.net.value(final, memory, torch.zeros(len(at), dtype=torch.bool, device=self.device))

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
        """See `Algorithm`; the memory is the actor's hidden and cell state, [layers, N, H] each, as in sb3-contrib."""
        net, n = self.net, len(leaves(policy_obs)[0])
        state = self._state_of(memory, n)
        if begun is not None and len(begun) != n:
            raise ConfigError(f"predict: episode_start has {len(begun)} flags, and there are {n} observations.")
        start = torch.zeros(n, dtype=torch.bool) if begun is None else torch.from_numpy(begun)
        seen = as_tensor(self.seen(policy_obs, masks), self.device)
        head, latent, after = net.act(seen, state, start.to(self.device))
        action = net.distribution.mode(head)
        if rng is not None:
            noise = torch.from_numpy(net.distribution.noise(rng, n)).to(self.device)
            action = net.distribution.sample(head, net.log_std, latent, noise)
        taken: np.ndarray = to_env(action.cpu().numpy(), self.policy)  # type: ignore[arg-type]
        return taken, tuple(each.cpu().numpy() for each in after)

    def _state_of(self, memory: Any, n: int) -> State:
        """What is remembered of n environments, as `policy_step` has returned it."""
        state = self.net.no_state(n)
        if memory is None:
            return state
        shape = tuple(state[0].shape)
        if not isinstance(memory, tuple | list) or [np.shape(each) for each in memory] != [shape] * 2:
            raise ConfigError(
                f"predict: state is what the call before has returned, two arrays {shape} for {n} observations; give "
                "None at first."
            )
        hidden, cell = (as_tensor(each, self.device) for each in memory)
        return hidden, cell

    # -- update --------------------------------------------------------------------------------------------------

    def order(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Environment by environment, begun at a random transition."""
        by_time = np.arange(count).reshape(self.n_steps, -1)
        return np.roll(by_time.T.reshape(-1), -int(rng.integers(count)))
