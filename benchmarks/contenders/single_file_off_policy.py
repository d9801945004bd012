"""DQN, SAC and TD3 as plain loops, the way CleanRL writes algorithms: torch's autograd and Adam, one environment."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contenders.clock import Clock
from contenders.works import Work

GAMMA, TAU = 0.99, 0.005


def mlp(*sizes: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        parts += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


class Replay:
    """A ring of transitions."""

    def __init__(self, size: int, obs: np.ndarray, action: np.ndarray, device: torch.device) -> None:
        self._device, self.n = device, 0
        self._arrays = [
            np.zeros((size, *obs.shape), np.float32), np.zeros((size, *obs.shape), np.float32),
            np.zeros((size, *action.shape), action.dtype), np.zeros(size, np.float32), np.zeros(size, np.float32),
        ]  # fmt: skip

    def add(self, *transition: Any) -> None:
        """Observation, next observation, action, reward, whether it terminated."""
        for array, value in zip(self._arrays, transition, strict=True):
            array[self.n % len(array)] = value
        self.n += 1

    def sample(self, size: int) -> list[Tensor]:
        rows = np.random.randint(0, min(self.n, len(self._arrays[0])), size)  # noqa: NPY002
        return [torch.as_tensor(array[rows], device=self._device) for array in self._arrays]


class DQN:
    """As CleanRL has it, with a squared loss and without clipping; stable-baselines3 and lit_rl do more here."""

    def __init__(self, work: Work, n_in: int, space: Any, device: torch.device) -> None:
        self.q = mlp(n_in, *work.net_arch, int(space.n)).to(device)
        self.target = copy.deepcopy(self.q)
        self.space, self.every = space, work.settings["target_update_interval"]
        self.optimizer = torch.optim.Adam(self.q.parameters(), lr=work.settings.get("learning_rate", 1e-4))

    @torch.no_grad()
    def act(self, obs: Tensor, progress: float) -> np.ndarray:
        if np.random.random() < max(0.05, 1.0 - 9.5 * progress):  # noqa: NPY002
            return np.array([self.space.sample()])
        return self.q(obs).argmax(1).cpu().numpy()  # type: ignore[no-any-return]

    def update(self, batch: list[Tensor], step: int) -> None:
        obs, next_obs, action, reward, terminated = batch
        with torch.no_grad():
            goal = reward + GAMMA * (1 - terminated) * self.target(next_obs).max(1).values
        loss = F.mse_loss(self.q(obs).gather(1, action[:, None]).squeeze(1), goal)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def after_step(self, timestep: int) -> None:
        if timestep % self.every == 0:
            self.target.load_state_dict(self.q.state_dict())


class Critics:
    """Twin Q-networks with their targets and one Adam."""

    def __init__(self, work: Work, n_in: int, device: torch.device) -> None:
        self.nets = nn.ModuleList([mlp(n_in, *work.net_arch, 1) for _ in range(2)]).to(device)
        self.targets = copy.deepcopy(self.nets)
        self.optimizer = torch.optim.Adam(self.nets.parameters(), lr=work.settings["learning_rate"])

    def target_value(self, obs: Tensor, action: Tensor) -> Tensor:
        both = torch.cat([obs, action], 1)
        return torch.min(*[net(both) for net in self.targets]).squeeze(1)

    def fit(self, obs: Tensor, action: Tensor, goal: Tensor) -> None:
        both = torch.cat([obs, action], 1)
        loss = sum(F.mse_loss(net(both).squeeze(1), goal) for net in self.nets)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        self.optimizer.step()


@torch.no_grad()
def follow(targets: nn.Module, nets: nn.Module) -> None:
    for target, net in zip(targets.parameters(), nets.parameters(), strict=True):
        target.copy_(TAU * net + (1 - TAU) * target)


class SAC:
    def __init__(self, work: Work, n_in: int, space: Any, device: torch.device) -> None:
        n_out = int(np.prod(space.shape))
        self.scale, self.space = float(space.high[0]), space
        self.body = mlp(n_in, *work.net_arch).to(device)
        self.mean, self.log_std = (nn.Linear(work.net_arch[-1], n_out).to(device) for _ in range(2))
        self.critics = Critics(work, n_in + n_out, device)
        self.log_alpha, self.entropy = torch.zeros(1, requires_grad=True, device=device), -float(n_out)
        parameters = [*self.body.parameters(), *self.mean.parameters(), *self.log_std.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=work.settings["learning_rate"])
        self.alpha_optimizer = torch.optim.Adam([self.log_alpha], lr=work.settings["learning_rate"])

    def draw(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Actions and their log-probabilities."""
        hidden = F.relu(self.body(obs))
        std = self.log_std(hidden).clamp(-20, 2).exp()
        normal = torch.distributions.Normal(self.mean(hidden), std)
        drawn = normal.rsample()
        squashed = torch.tanh(drawn)
        log_prob = normal.log_prob(drawn) - torch.log(self.scale * (1 - squashed**2) + 1e-6)
        return squashed * self.scale, log_prob.sum(1)

    @torch.no_grad()
    def act(self, obs: Tensor, progress: float) -> np.ndarray:
        return self.draw(obs)[0].cpu().numpy()

    def update(self, batch: list[Tensor], step: int) -> None:
        obs, next_obs, action, reward, terminated = batch
        with torch.no_grad():
            next_action, next_log_prob = self.draw(next_obs)
            value = self.critics.target_value(next_obs, next_action) - self.log_alpha.exp() * next_log_prob
            goal = reward + GAMMA * (1 - terminated) * value
        self.critics.fit(obs, action, goal)
        drawn, log_prob = self.draw(obs)
        both = torch.cat([obs, drawn], 1)
        value = torch.min(*[net(both) for net in self.critics.nets]).squeeze(1)
        loss = (self.log_alpha.exp().detach() * log_prob - value).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        alpha_loss = (-self.log_alpha.exp() * (log_prob.detach() + self.entropy)).mean()
        self.alpha_optimizer.zero_grad()
        alpha_loss.backward()
        self.alpha_optimizer.step()
        follow(self.critics.targets, self.critics.nets)

    def after_step(self, timestep: int) -> None:
        pass


class TD3:
    def __init__(self, work: Work, n_in: int, space: Any, device: torch.device) -> None:
        n_out = int(np.prod(space.shape))
        self.scale, self.space = float(space.high[0]), space
        self.actor = nn.Sequential(mlp(n_in, *work.net_arch, n_out), nn.Tanh()).to(device)
        self.actor_target = copy.deepcopy(self.actor)
        self.critics = Critics(work, n_in + n_out, device)
        self.optimizer = torch.optim.Adam(self.actor.parameters(), lr=work.settings["learning_rate"])

    @torch.no_grad()
    def act(self, obs: Tensor, progress: float) -> np.ndarray:
        return (self.actor(obs) * self.scale).cpu().numpy()  # type: ignore[no-any-return]

    def update(self, batch: list[Tensor], step: int) -> None:
        obs, next_obs, action, reward, terminated = batch
        with torch.no_grad():
            noise = (torch.randn_like(action) * 0.2).clamp(-0.5, 0.5)
            next_action = (self.actor_target(next_obs) + noise).clamp(-1, 1) * self.scale
            goal = reward + GAMMA * (1 - terminated) * self.critics.target_value(next_obs, next_action)
        self.critics.fit(obs, action, goal)
        if step % 2 == 0:
            loss = -self.critics.nets[0](torch.cat([obs, self.actor(obs) * self.scale], 1)).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            follow(self.actor_target, self.actor)
            follow(self.critics.targets, self.critics.nets)

    def after_step(self, timestep: int) -> None:
        pass


ALGORITHMS: dict[str, Any] = {"DQN": DQN, "SAC": SAC, "TD3": TD3}


def measure(work: Work, units: int, backend: str, accelerator: str) -> tuple[int, float]:
    clock, device, settings = Clock(work, units), torch.device(accelerator), work.settings
    envs = gym.vector.SyncVectorEnv([lambda: gym.wrappers.RecordEpisodeStatistics(gym.make(work.env))])
    space = envs.single_action_space
    agent = ALGORITHMS[work.algorithm](work, int(np.prod(envs.single_observation_space.shape)), space, device)
    obs, _ = envs.reset(seed=1)
    replay = Replay(settings.get("buffer_size", 1_000_000), obs[0], np.asarray(space.sample()), device)
    steps = 0
    for timestep in range(1, clock.target + 1):
        if timestep <= settings["learning_starts"]:
            action = envs.action_space.sample()
        else:
            action = agent.act(torch.as_tensor(obs, dtype=torch.float32, device=device), timestep / clock.target)
        next_obs, reward, terminated, _, _ = envs.step(action)
        replay.add(obs[0], next_obs[0], action[0], reward[0], terminated[0])
        obs = next_obs
        if timestep > settings["learning_starts"] and timestep % settings["train_freq"] == 0:
            for _ in range(settings["gradient_steps"]):
                agent.update(replay.sample(settings["batch_size"]), steps)
                steps += 1
        agent.after_step(timestep)
        clock.tick(timestep)
    return clock.measured
