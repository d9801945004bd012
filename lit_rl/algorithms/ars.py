"""Augmented random search (Mania et al. 2018, arXiv:1803.07055), with sb3-contrib's settings.

Shapes: K directions, C = 2 K candidates (along each, then against each), P numbers of the policy's weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.ars.policies import ARSPolicy, LinearPolicy, MlpPolicy
from torch import nn

from lit_rl.curriculum import CurriculumConfig
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError
from lit_rl.networks.actor_critic import as_tensor, to_env
from lit_rl.networks.kwargs import resolve_policy_kwargs
from lit_rl.networks.policies import make_policy, policy_class
from lit_rl.networks.population import Population
from lit_rl.networks.tensors import Table
from lit_rl.ops.limits import Limit, above, at_least
from lit_rl.ops.random_search import search_step
from lit_rl.ops.schedules import ScheduleLike, as_schedule
from lit_rl.training.config import EvalConfig
from lit_rl.training.module import RLModule

_LONGEST = 1_000_000
"""Steps without the end of an episode after which there will be none."""


@dataclass
class Trials:
    """What the candidates have come to.

    Args:
        directions: [K, P].
        returns: [C], over all episodes of each.
        delta_std, learning_rate: with which the step began.
    """

    directions: np.ndarray
    returns: np.ndarray
    delta_std: float
    learning_rate: float


class ARS(RLModule):
    """ARS: candidates around the weights play whole episodes, and the weights follow the better ones. No gradients.

    Candidate c plays all its episodes in environment ``c mod n_envs``, or, where there are more environments than
    candidates, in several of them; an environment without a candidate rests until the next step of the search.

    Args:
        env: the environments.
        policy: `LinearPolicy`, `MlpPolicy`, or the import path of an sb3-contrib `ARSPolicy`.
        n_delta: directions in which a step of the search looks, both ways.
        n_top: how many of the best directions a step follows; `null` for all.
        learning_rate: size of a step; a number, `lin_0.02`, or a schedule.
        delta_std: how far candidates lie from the weights; a number or a schedule.
        zero_policy: begin with weights of zero.
        alive_bonus_offset: added to the reward of every step, such as to take away a bonus for being alive.
        n_eval_episodes: episodes that each candidate plays.
        policy_kwargs: keyword arguments of the policy, as in sb3-contrib; classes by their import path.
        cycles_per_iteration: steps of the search in one iteration; logs, checkpoints and signals come between
            iterations, and nothing that is learned depends on it.
        total_timesteps: the run's target.
        seed: the run's seed.
        curriculum: the run's levels.
        evaluation: when and how the policy is evaluated beside training.
    """

    POLICIES: ClassVar[Mapping[str, type[Any]]] = {"MlpPolicy": MlpPolicy, "LinearPolicy": LinearPolicy}
    TENSORS: ClassVar[Table] = {"policy.": "policy"}
    LIMITS: ClassVar[Mapping[str, Limit]] = {
        "n_delta": at_least(1),
        "n_top": at_least(1),
        "learning_rate": at_least(0),
        "delta_std": above(0),
        "n_eval_episodes": at_least(1),
    }
    SCRATCH: ClassVar[Mapping[str, str]] = {"population": "made of weights and directions by every step of the search"}

    def __init__(
        self,
        env: EnvConfig,
        policy: str = "LinearPolicy",
        n_delta: int = 8,
        n_top: int | None = None,
        learning_rate: ScheduleLike = 0.02,
        delta_std: ScheduleLike = 0.05,
        zero_policy: bool = True,
        alive_bonus_offset: float = 0.0,
        n_eval_episodes: int = 1,
        policy_kwargs: dict | None = None,  # type: ignore[type-arg]
        cycles_per_iteration: int = 10,
        total_timesteps: int = 1_000_000,
        seed: int = 0,
        curriculum: CurriculumConfig | None = None,
        evaluation: EvalConfig | None = None,
    ) -> None:
        super().__init__(
            env, total_timesteps, seed, 1.0, curriculum, evaluation, cycles_per_iteration=cycles_per_iteration
        )
        self.policy_class = policy_class(policy, self.POLICIES)
        self.policy_kwargs = resolve_policy_kwargs(policy_kwargs, self.policy_class)
        self.learning_rate = as_schedule(learning_rate, "model.learning_rate")
        self.delta_std = as_schedule(delta_std, "model.delta_std")
        self.n_delta, self.n_top, self.zero_policy = n_delta, n_delta if n_top is None else n_top, zero_policy
        self.alive_bonus_offset, self.n_eval_episodes = alive_bonus_offset, n_eval_episodes
        self.population: Population | None = None
        episodes, n_envs = 2 * n_delta * n_eval_episodes, self.env_config.n_envs
        if self.n_top > n_delta:
            raise ConfigError(f"model.n_top is {n_top}, and there are {n_delta} directions (model.n_delta).")
        if n_envs > episodes:
            raise ConfigError(
                f"env.n_envs is {n_envs}, and a step of ARS has 2 * n_delta * n_eval_episodes = {episodes} episodes: "
                f"the others would rest always; use {episodes} or fewer."
            )
        if self.env_config.normalize.reward:
            raise ConfigError(
                "env.normalize.reward: ARS goes by returns as the environment gives them; set it to false."
            )
        if self.env_config.backend == "native":
            raise ConfigError(
                "env.backend: native steps all environments in one array, and ARS plays whole episodes in each alone; "
                "use backend: sync or async."
            )

    @classmethod
    def check_actions(cls, space: spaces.Space[Any]) -> None:
        if not isinstance(space, spaces.Box | spaces.Discrete):
            raise ConfigError(f"model: ARS is for Box and Discrete actions; this environment has {space}.")

    def build_policy(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> nn.Module:
        self.check_actions(action_space)
        if isinstance(observation_space, spaces.Dict):
            raise ConfigError("model: ARS is not for Dict observations; flatten them with a wrapper in env.wrappers.")
        policy: ARSPolicy = make_policy(
            self.policy_class, observation_space, action_space, policy_kwargs=self.policy_kwargs
        )
        if self.zero_policy:
            for parameter in policy.parameters():
                nn.init.zeros_(parameter)
        return policy

    def configure_optimizers(self) -> None:
        """There are none."""

    # -- a step of the search ------------------------------------------------------------------------------------

    def collect(self) -> Trials:
        """Let every candidate play its episodes."""
        delta_std, learning_rate = self.delta_std(self.progress_remaining), self.learning_rate(self.progress_remaining)
        weights = nn.utils.parameters_to_vector(self.policy.parameters()).detach().cpu().numpy()
        rng = self.stream("directions", self.counters.iterations)
        directions = rng.standard_normal((self.n_delta, len(weights)), dtype=np.float32)
        moved = directions * np.float32(delta_std)
        own = self._play(np.concatenate([weights + moved, weights - moved]))
        returns = np.zeros(2 * self.n_delta, dtype=np.float32)
        played = sorted(each for of_rank in self.play.finish(own) for each in of_rank)
        for candidate in range(2 * self.n_delta):
            mine = [(ret, length) for whose, _, ret, length in played if whose == candidate]
            whole = sum(ret for ret, _ in mine) + self.alive_bonus_offset * sum(length for _, length in mine)
            returns[candidate] = whole
        return Trials(directions, returns, delta_std, learning_rate)

    def _play(self, candidates_CP: np.ndarray) -> list[tuple[int, int, float, int]]:
        """Candidate, number, return and length of each episode that this rank plays."""
        play, rows = self.play, self.ranks.rows(self.env_config.n_envs)
        if self.population is None:
            self.population = Population(self.policy, len(rows))  # type: ignore[arg-type]
        population, waiting = self.population, [self._episodes_of(env) for env in rows]
        for row, episodes in enumerate(waiting):
            population.put(row, candidates_CP[episodes[0][0]])
        played: list[tuple[int, int, float, int]] = []
        left, quiet = sum(map(len, waiting)), 0
        while left:
            result = play.step(population.actions(play.policy_obs))
            quiet = 0 if result.episodes else quiet + 1
            if quiet == _LONGEST:
                raise ConfigError(
                    f"env: no episode of {self.env_config.name} has ended within {_LONGEST:,} steps, and ARS plays "
                    "whole ones; give env.max_episode_steps."
                )
            for episode in result.episodes:
                row = episode.env_index - rows.start
                candidate, number = waiting[row].pop(0)
                played.append((candidate, number, episode.ret, episode.length))
                left -= 1
                if waiting[row]:
                    population.put(row, candidates_CP[waiting[row][0][0]])
                elif left:
                    play.rest(np.array([not episodes for episodes in waiting]))
        play.rest(np.zeros(len(rows), dtype=np.bool_))
        return played

    def _episodes_of(self, env: int) -> list[tuple[int, int]]:
        """Candidate and number of each episode that is played in an environment, by its index in the run."""
        count, n_envs = 2 * self.n_delta, self.env_config.n_envs
        every = [(candidate, number) for candidate in range(count) for number in range(self.n_eval_episodes)]
        return [(candidate, number) for candidate, number in every if (number * count + candidate) % n_envs == env]

    @torch.no_grad()
    def update(self, trials: Trials) -> dict[str, float]:
        """Move the weights; metrics as sb3-contrib logs them."""
        plus, minus = torch.split(torch.from_numpy(trials.returns), self.n_delta)
        found = search_step(plus, minus, torch.from_numpy(trials.directions), self.n_top, trials.learning_rate)
        parameters = list(self.policy.parameters())
        parts = torch.split(found.step, [each.numel() for each in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.add_(part.view_as(parameter).to(parameter.device))
        self.counters.updates += 1
        ended = self.play.ended
        return {
            "rollout/ep_rew_mean": float(np.mean([episode.ret for episode in ended])),
            "rollout/ep_len_mean": float(np.mean([episode.length for episode in ended])),
            "rollout/return_std": found.return_std,
            "train/iterations": self.counters.updates - 1,
            "train/delta_std": trials.delta_std,
            "train/learning_rate": trials.learning_rate,
            "train/step_size": found.size,
        }

    @torch.no_grad()
    def policy_actions(self, policy_obs: Any, rng: np.random.Generator | None = None) -> np.ndarray:
        """The policy's own, with which nothing is drawn."""
        policy: Any = self.policy
        action: np.ndarray = policy(as_tensor(policy_obs, self.device)).cpu().numpy()
        taken: np.ndarray = to_env(action, policy)
        return taken
