"""PPO as one plain loop, the way CleanRL writes algorithms: autograd, torch's Adam, gymnasium's vector environments."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Normal

from contenders.clock import Clock
from contenders.works import Work

GAMMA, LAMBDA, MAX_GRAD_NORM, VF_COEF = 0.99, 0.95, 0.5, 0.5


def make_envs(work: Work, backend: str) -> Any:
    def make() -> gym.Env[Any, Any]:
        if work.atari:
            import ale_py
            from stable_baselines3.common.atari_wrappers import AtariWrapper

            gym.register_envs(ale_py)
        env: Any = gym.wrappers.RecordEpisodeStatistics(gym.make(work.env, **work.env_kwargs))
        if work.atari:
            scaled = AtariWrapper(env)
            space = gym.spaces.Box(0, 255, (84, 84), np.uint8)
            env = gym.wrappers.FrameStackObservation(
                gym.wrappers.TransformObservation(scaled, lambda obs: obs[..., 0], space), 4
            )
        return env

    kind = gym.vector.AsyncVectorEnv if backend == "async" else gym.vector.SyncVectorEnv
    envs: Any = kind([make] * work.n_envs, autoreset_mode=gym.vector.AutoresetMode.NEXT_STEP)
    if work.normalize:
        envs = gym.wrappers.vector.NormalizeObservation(envs)
        envs = gym.wrappers.vector.TransformObservation(envs, lambda obs: np.clip(obs, -10, 10))
        envs = gym.wrappers.vector.NormalizeReward(envs, gamma=GAMMA)
        envs = gym.wrappers.vector.TransformReward(envs, lambda reward: np.clip(reward, -10, 10))
    return envs


def layer(n_in: int, n_out: int, gain: float = 2**0.5) -> nn.Linear:
    made = nn.Linear(n_in, n_out)
    nn.init.orthogonal_(made.weight, gain)
    nn.init.zeros_(made.bias)
    return made


def body(work: Work, n_in: int) -> tuple[nn.Module, int]:
    """What lies below a head, and how wide it is."""
    if work.atari:
        convolutions = [nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3, 1)]
        return nn.Sequential(*convolutions, nn.ReLU(), nn.Flatten(), layer(3136, 512), nn.ReLU()), 512
    parts: list[nn.Module] = []
    for width in work.net_arch:
        parts += [layer(n_in, width), nn.Tanh()]
        n_in = width
    return nn.Sequential(*parts), n_in


class Agent(nn.Module):
    """Actor and critic; for images they share the CNN."""

    def __init__(self, work: Work, envs: Any) -> None:
        super().__init__()
        n_in = int(np.prod(envs.single_observation_space.shape))
        space = envs.single_action_space
        self.discrete = isinstance(space, gym.spaces.Discrete)
        n_out = int(space.n) if self.discrete else int(np.prod(space.shape))
        self.scale = 255.0 if work.atari else 1.0
        below_actor, width = body(work, n_in)
        below_critic = below_actor if work.atari else body(work, n_in)[0]
        self.shared = below_actor if work.atari else None
        self.actor = nn.Sequential(*([] if work.atari else [below_actor]), layer(width, n_out, 0.01))
        self.critic = nn.Sequential(*([] if work.atari else [below_critic]), layer(width, 1, 1.0))
        self.log_std = nn.Parameter(torch.zeros(1, n_out)) if not self.discrete else None

    def below(self, obs: Tensor) -> Tensor:
        return obs if self.shared is None else self.shared(obs / self.scale)

    def value(self, obs: Tensor) -> Tensor:
        return self.critic(self.below(obs)).flatten()  # type: ignore[no-any-return]

    def act(self, obs: Tensor, action: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Action, its log-probability, entropy and value."""
        hidden = self.below(obs)
        head, value = self.actor(hidden), self.critic(hidden).flatten()
        if self.discrete:
            categorical = Categorical(logits=head)
            action = categorical.sample() if action is None else action
            return action, categorical.log_prob(action), categorical.entropy(), value
        assert self.log_std is not None
        normal = Normal(head, self.log_std.expand_as(head).exp())
        action = normal.sample() if action is None else action
        return action, normal.log_prob(action).sum(1), normal.entropy().sum(1), value


def measure(work: Work, units: int, backend: str, accelerator: str) -> tuple[int, float]:
    clock, device, settings = Clock(work, units), torch.device(accelerator), work.settings
    clip, entropy_coef = settings.get("clip_range", 0.2), settings.get("ent_coef", 0.0)
    envs = make_envs(work, backend)
    agent = Agent(work, envs).to(device)
    optimizer = torch.optim.Adam(agent.parameters(), lr=settings.get("learning_rate", 3e-4), eps=1e-5)
    T, N = settings["n_steps"], work.n_envs
    observations = torch.zeros((T, N, *envs.single_observation_space.shape), device=device)
    actions = torch.zeros((T, N, *envs.single_action_space.shape), device=device)
    log_probs, rewards, dones, values = (torch.zeros((T, N), device=device) for _ in range(4))
    next_obs = torch.tensor(envs.reset(seed=1)[0], dtype=torch.float32, device=device)
    next_done = torch.zeros(N, device=device)
    for iteration in range(clock.target // work.unit):
        for t in range(T):
            observations[t], dones[t] = next_obs, next_done
            with torch.no_grad():
                action, log_probs[t], _, values[t] = agent.act(next_obs)
            actions[t] = action
            obs, reward, terminated, truncated, _ = envs.step(action.cpu().numpy())
            rewards[t] = torch.tensor(reward, dtype=torch.float32, device=device)
            next_obs = torch.tensor(obs, dtype=torch.float32, device=device)
            next_done = torch.tensor(np.logical_or(terminated, truncated), dtype=torch.float32, device=device)
        with torch.no_grad():
            advantages, last = torch.zeros_like(rewards), torch.zeros(N, device=device)
            after, going_on = agent.value(next_obs), 1.0 - next_done
            for t in reversed(range(T)):
                delta = rewards[t] + GAMMA * after * going_on - values[t]
                advantages[t] = last = delta + GAMMA * LAMBDA * going_on * last
                after, going_on = values[t], 1.0 - dones[t]
            returns = advantages + values
        flat = [part.flatten(0, 1) for part in (observations, actions, log_probs, advantages, returns)]
        order = np.arange(work.unit)
        for _ in range(settings["n_epochs"]):
            np.random.shuffle(order)  # noqa: NPY002
            for begin in range(0, work.unit, work.batch_size):
                obs_B, action_B, old_B, advantage_B, return_B = (
                    part[order[begin : begin + work.batch_size]] for part in flat
                )
                _, new_B, entropy_B, value_B = agent.act(obs_B, action_B)
                ratio_B = (new_B - old_B).exp()
                advantage_B = (advantage_B - advantage_B.mean()) / (advantage_B.std() + 1e-8)
                surrogate = torch.max(-advantage_B * ratio_B, -advantage_B * ratio_B.clamp(1 - clip, 1 + clip)).mean()
                value_loss = 0.5 * ((value_B - return_B) ** 2).mean()
                loss = surrogate + VF_COEF * value_loss - entropy_coef * entropy_B.mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), MAX_GRAD_NORM)
                optimizer.step()
        clock.tick((iteration + 1) * work.unit)
    envs.close()
    return clock.measured
