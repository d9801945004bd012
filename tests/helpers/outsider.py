"""An algorithm of somebody who has read docs/algorithms.md and nothing else: one file outside the package.

A small deterministic actor-critic with a replay buffer, a target network and two optimizers (after Lillicrap et al.
2016, arXiv:1509.02971).
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lit_rl import EnvConfig, Part, RLModule
from lit_rl.ops.schedules import ScheduleLike, as_schedule


class Replay:
    """The last `capacity` transitions of this rank's environments: raw, in a ring."""

    def __init__(self, capacity: int, obs: int, action: int) -> None:
        self.rows = torch.zeros(capacity, 2 * obs + action + 2)
        self.count = 0
        self._widths = [obs, action, 1, 1, obs]

    def add(self, *columns: np.ndarray) -> None:
        rows = torch.from_numpy(np.concatenate([np.reshape(c, (len(c), -1)) for c in columns], axis=1)).float()
        where = (self.count + torch.arange(len(rows))) % len(self.rows)
        self.rows[where] = rows
        self.count += len(rows)

    def sample(self, size: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        where = torch.from_numpy(rng.integers(min(self.count, len(self.rows)), size=size))
        return self.rows[where].split(self._widths, dim=1)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows.clone(), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows.copy_(state["rows"])
        self.count = state["count"]


class TinyDDPG(RLModule):
    """Deterministic policy gradients.

    Args:
        env: the environments.
        learning_rate: of the actor; the critic's is three times that.
        width: of the hidden layers.
        batch_size: transitions in a minibatch.
        capacity: transitions in the replay buffer.
        noise: deviation of the exploration noise.
        tau: share of the network that its target takes over in each update.
        gamma: discount factor.
        total_timesteps: the run's target.
        seed: the run's seed.
        curriculum: the run's levels.
        evaluation: when and how the policy is evaluated beside training.
        cycles_per_iteration: steps with their updates in one iteration.
    """

    PARTS = {"replay": Part("the last transitions, and how many there were", "rank")}  # noqa: RUF012
    TENSORS = {"critic.": "value", "target.": "value"}  # noqa: RUF012
    FIXED = {"capacity": "the buffer's size"}  # noqa: RUF012
    FREE = {"capacity_warning": "a log line"}  # noqa: RUF012

    def __init__(
        self,
        env: EnvConfig,
        learning_rate: ScheduleLike = 1e-3,
        width: int = 16,
        batch_size: int = 32,
        capacity: int = 500,
        noise: float = 0.2,
        tau: float = 0.05,
        gamma: float = 0.95,
        total_timesteps: int = 10_000,
        seed: int = 0,
        curriculum: Any = None,
        evaluation: Any = None,
        cycles_per_iteration: int = 16,
    ) -> None:
        super().__init__(
            env, total_timesteps, seed, gamma, curriculum, evaluation, cycles_per_iteration=cycles_per_iteration
        )
        self.learning_rate = as_schedule(learning_rate, "model.learning_rate")
        self.width, self.batch_size, self.capacity = width, batch_size, capacity
        self.noise, self.tau = noise, tau

    def build_policy(self, observation_space: Any, action_space: Any) -> nn.Module:
        obs, action = observation_space.shape[0], action_space.shape[0]
        self.critic = nn.Sequential(nn.Linear(obs + action, self.width), nn.ReLU(), nn.Linear(self.width, 1))
        actor = nn.Sequential(nn.Linear(obs, self.width), nn.ReLU(), nn.Linear(self.width, action), nn.Tanh())
        self.target = copy.deepcopy(nn.ModuleList([actor, self.critic])).requires_grad_(False)
        self.replay = Replay(self.capacity, obs, action)
        return actor

    def configure_optimizers(self) -> Any:
        faster = as_schedule(3 * self.learning_rate(1.0), "")
        return (
            self.scheduled(torch.optim.Adam(self.policy.parameters())),
            self.scheduled(torch.optim.Adam(self.critic.parameters()), faster),
        )

    def _actions(self, policy_obs: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            actions: np.ndarray = self.policy(torch.tensor(policy_obs)).numpy()
        return actions

    def policy_actions(self, policy_obs: Any, rng: np.random.Generator | None = None) -> np.ndarray:
        actions = self._actions(policy_obs)
        if rng is not None:
            actions = actions + self.noise * rng.standard_normal(actions.shape).astype(np.float32)
        return self._to_env(actions)

    def _to_env(self, actions: np.ndarray) -> np.ndarray:
        low, high = self.action_space.low, self.action_space.high
        scaled: np.ndarray = low + (np.clip(actions, -1.0, 1.0) + 1.0) / 2.0 * (high - low)
        return scaled

    def collect(self) -> None:
        """One step of every environment."""
        before, rows = np.array(self.play.obs), self.ranks.rows(self.env_config.n_envs)
        noise = [self.stream("exploration", i, self.counters.iterations).standard_normal() for i in rows]
        actions = self._actions(self.play.policy_obs) + np.float32(self.noise) * np.array(noise, np.float32)[:, None]
        result = self.play.step(self._to_env(actions))
        after = np.array(result.obs)
        for row, final in result.finals:
            after[row] = final
        self.normalizer.update_rewards(result.reward, result.terminated | result.truncated)
        self.replay.add(before, np.clip(actions, -1.0, 1.0), result.reward, result.terminated, after)
        self.play.finish(None)

    def update(self, experience: None) -> dict[str, float]:
        """One step of the critic, one of the actor."""
        actor_steps, critic_steps = self.optimizers_now()
        rng = self.stream("replay", self.counters.iterations)
        obs, action, reward, terminated, after = self.replay.sample(self.batch_size, rng)
        obs, after = (torch.tensor(self.normalizer.normalize_obs(part.numpy())) for part in (obs, after))
        reward = torch.tensor(self.normalizer.normalize_rewards(reward.numpy()), dtype=torch.float32)
        old_actor, old_critic = self.target
        with torch.no_grad():
            following = old_critic(torch.cat([after, old_actor(after)], dim=1))
            wanted = reward + self.gamma * (1.0 - terminated) * following
        critic_loss = nn.functional.mse_loss(self.critic(torch.cat([obs, action], dim=1)), wanted)
        self.descent.step(critic_steps, critic_loss, max_norm=10.0)
        actor_loss = -self.critic(torch.cat([obs, self.policy(obs)], dim=1)).mean()
        self.descent.step(actor_steps, actor_loss)
        with torch.no_grad():
            for target, network in zip(self.target.parameters(), self._networks(), strict=True):
                target.lerp_(network, self.tau)
        self.counters.updates += 1
        return {"train/critic_loss": float(critic_loss.detach()), "train/actor_loss": float(actor_loss.detach())}

    def _networks(self) -> list[Tensor]:
        return [*self.policy.parameters(), *self.critic.parameters()]


class ForgetsReplay(TinyDDPG):
    """Keeps its transitions where nobody has been told of them."""

    def build_policy(self, observation_space: Any, action_space: Any) -> nn.Module:
        policy = super().build_policy(observation_space, action_space)
        self.memory = Replay(self.capacity, observation_space.shape[0], action_space.shape[0])
        return policy


class ForgetsCount(TinyDDPG):
    """Counts its updates in an attribute of its own, by which it lowers the noise."""

    def __init__(self, env: EnvConfig, total_timesteps: int = 10_000, seed: int = 0) -> None:
        super().__init__(env, total_timesteps=total_timesteps, seed=seed)
        self.steps_of_noise = 0

    def update(self, experience: None) -> dict[str, float]:
        self.steps_of_noise += 1
        return super().update(experience)
