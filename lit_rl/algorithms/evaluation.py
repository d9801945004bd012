"""Playing episodes with a policy as it is, beside training and without touching it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from lit_rl.data.episode import Episode
from lit_rl.envs.vector import VectorEnv


class Player(Protocol):
    """What is evaluated: a module with its policy and normaliser."""

    normalizer: Any
    training: bool

    def predict(self, policy_obs: Any) -> np.ndarray:
        """The most likely actions."""

    def train(self, mode: bool = True) -> Any:
        """Switch between training and evaluation."""


@dataclass(frozen=True)
class Evaluation:
    """Finished episodes, in the order in which each environment played them."""

    episodes: list[Episode]

    def metrics(self) -> dict[str, float]:
        """Mean, deviation, least and greatest of return and length, and the share of successes where there are any."""
        returns = np.array([episode.ret for episode in self.episodes])
        lengths = np.array([episode.length for episode in self.episodes])
        metrics = {
            "mean_reward": float(returns.mean()),
            "std_reward": float(returns.std()),
            "min_reward": float(returns.min()),
            "max_reward": float(returns.max()),
            "mean_ep_length": float(lengths.mean()),
            "std_ep_length": float(lengths.std()),
            "min_ep_length": float(lengths.min()),
            "max_ep_length": float(lengths.max()),
        }
        successes = [episode.success for episode in self.episodes if episode.success is not None]
        if successes:
            metrics["success_rate"] = float(np.mean(successes))
        return metrics


@torch.no_grad()
def evaluate(module: Player, envs: VectorEnv, episodes: int) -> Evaluation:
    """Play `episodes` whole episodes, each with the policy's most likely actions and the moments of this moment.

    Every environment plays an equal share (one more for the first, where it does not divide), so that short episodes
    do not count for more. Returns are the task's own: unscaled, below all wrappers.
    """
    share = [len(part) for part in np.array_split(np.arange(episodes), envs.n_envs)]
    played: list[list[Episode]] = [[] for _ in share]
    training = module.training
    module.train(False)
    obs = envs.reset()
    while any(len(mine) < due for mine, due in zip(played, share, strict=True)):
        result = envs.step(module.predict(module.normalizer.normalize_obs(obs)))
        obs = result.obs
        for episode in result.episodes:
            row = episode.env_index - envs.offset
            if len(played[row]) < share[row]:
                played[row].append(episode)
    module.train(training)
    return Evaluation([episode for mine in played for episode in mine])
