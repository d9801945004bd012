"""Playing episodes with a policy as it is, beside training and without touching it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from lit_rl.curriculum import Curriculum, Level
from lit_rl.data.episode import Episode
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.sync import SyncVectorEnv
from lit_rl.envs.vector import VectorEnv
from lit_rl.errors import EXIT_STOPPED, ConfigError, LitRLError
from lit_rl.ops.streams import generator
from lit_rl.state.streams import capture_streams, restore_streams
from lit_rl.training.config import EvalConfig


class Player(Protocol):
    """What is evaluated: a module with its policy and normaliser."""

    normalizer: Any
    training: bool
    env_config: EnvConfig
    seed: int

    def policy_step(
        self,
        policy_obs: Any,
        rng: np.random.Generator | None = None,
        memory: Any = None,
        begun: np.ndarray | None = None,
        masks: np.ndarray | None = None,
    ) -> tuple[np.ndarray, Any]:
        """The most likely actions, or drawn ones, and what is remembered."""

    def train(self, mode: bool = True) -> Any:
        """Switch between training and evaluation."""

    def asked_to_stop(self) -> str | None:
        """The signal for which an evaluation has to be given up, once there is one."""


class EvaluationGivenUp(LitRLError):
    """A signal came while episodes were played that take long."""

    exit_code = EXIT_STOPPED

    def __init__(self, signal: str) -> None:
        super().__init__(f"stopped by {signal} in an evaluation, which is given up.")
        self.signal = signal


@dataclass(frozen=True)
class Evaluation:
    """Finished episodes, level by level, in the order in which each environment played them."""

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

    def on_level(self, level: int) -> Evaluation:
        """Its episodes on one level."""
        return self.on_levels([level])

    def on_levels(self, levels: Collection[int]) -> Evaluation:
        """Its episodes on some levels."""
        return Evaluation([episode for episode in self.episodes if episode.level in levels])

    def logged(self, levels: Sequence[Level], each: bool) -> dict[str, float]:
        """`eval/mean_reward` and related metrics over all episodes; with `each`, also level by level."""
        metrics = _logged(self, "eval")
        for i, level in enumerate(levels if each else []):
            metrics |= _logged(self.on_level(i), f"eval/level_{level.name}")
        return metrics


def _logged(evaluation: Evaluation, prefix: str) -> dict[str, float]:
    names = ("mean_reward", "mean_ep_length", "success_rate")
    metrics = evaluation.metrics()
    return {f"{prefix}/{name}": metrics[name] for name in names if name in metrics}


def evaluation_envs(
    config: EnvConfig,
    seed: int,
    n_envs: int,
    levels: Sequence[Level],
    key: tuple[int, ...] = (),
    longest: int | None = None,
) -> VectorEnv:
    """Environments in this process, with episode seeds of their own; every one is on the level that is set.

    Episodes of more than `longest` steps are cut off there.
    """
    if config.backend == "native" and config.class_path is not None:
        raise ConfigError(f"evaluation needs single environments, and {config.name} is a vectorised one only.")
    return SyncVectorEnv(config, seed, range(n_envs), "evaluation", levels, key, longest)


def evaluate_beside(module: Player, config: EvalConfig, curriculum: Curriculum | None, timesteps: int) -> Evaluation:
    """The evaluation that belongs to this timestep of the run.

    Environments, their seeds and the noise of actions begin anew each time and derive from the timestep, so that the
    result depends on weights, moments and timestep alone, whatever was evaluated before. Global streams are put back.
    """
    episodes: list[Episode] = []
    streams = capture_streams()
    levels = [] if curriculum is None else curriculum.levels
    for level in config.played(curriculum):
        n_envs = min(config.envs, config.episodes)
        envs = evaluation_envs(module.env_config, module.seed, n_envs, levels, (timesteps,), config.max_episode_steps)
        try:
            if curriculum is not None:
                envs.assign(curriculum.evaluated(level, timesteps))
            rng = None
            if not config.deterministic:
                rng = generator(module.seed, "evaluation_actions", timesteps, level)
            episodes += evaluate(module, envs, config.episodes, rng).episodes
        finally:
            envs.close()
    restore_streams(streams)
    return Evaluation(episodes)


def evaluate_now(
    module: Player, envs: VectorEnv, config: EvalConfig, episodes: int, curriculum: Curriculum | None, timesteps: int
) -> Evaluation:
    """Whole episodes on each level that `config.level` asks for, in environments that are there.

    Args:
        module: whose policy plays.
        envs: where.
        config: its `level` and `deterministic` count; drawn actions have a stream of their own.
        episodes: how many, on each level.
        curriculum: of the run; `None` without one.
        timesteps: of the run so far.
    """
    played: list[Episode] = []
    for level in config.played(curriculum):
        if curriculum is not None:
            envs.assign(curriculum.evaluated(level, timesteps))
        rng = None if config.deterministic else generator(module.seed, "test_actions", level)
        played += evaluate(module, envs, episodes, rng).episodes
    return Evaluation(played)


@torch.no_grad()
def evaluate(module: Player, envs: VectorEnv, episodes: int, rng: np.random.Generator | None = None) -> Evaluation:
    """Play `episodes` whole episodes with the moments of this moment.

    Every environment plays an equal share (one more for the first, where it does not divide), so that short episodes
    do not count for more. Returns are the task's own: unscaled, below all wrappers.

    Args:
        module: whose policy plays.
        envs: where.
        episodes: how many, over all environments.
        rng: where the noise of drawn actions comes from; `None` takes the most likely actions.
    """
    share = [len(part) for part in np.array_split(np.arange(episodes), envs.n_envs)]
    played: list[list[Episode]] = [[] for _ in share]
    training = module.training
    module.train(False)
    obs, memory, begun = envs.reset(), None, np.ones(envs.n_envs, dtype=np.bool_)
    cut = 0
    while any(len(mine) < due for mine, due in zip(played, share, strict=True)):
        signal = module.asked_to_stop()
        if signal is not None:
            raise EvaluationGivenUp(signal)
        seen = module.normalizer.normalize_obs(obs)
        actions, memory = module.policy_step(seen, rng, memory=memory, begun=begun, masks=envs.masks)
        result = envs.step(actions)
        obs, begun = result.obs, result.terminated | result.truncated
        for episode in result.episodes:
            row = episode.env_index - envs.offset
            if len(played[row]) < share[row]:
                played[row].append(episode)
            cut += episode.cut
    module.train(training)
    if cut:
        print(
            f"WARNING: {cut} of {episodes} episodes of an evaluation did not end and were cut (eval.max_episode_steps)",
            flush=True,
        )
    return Evaluation([episode for mine in played for episode in mine])
