"""What off-policy algorithms share: a replay, when to collect and when to learn, and batches for their targets.

A cycle is `train_freq` steps of all environments and the gradient steps that follow. Shapes: N environments, B a batch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from lit_rl.algorithms.gradients import TwoWays
from lit_rl.algorithms.resets import ParamResets
from lit_rl.algorithms.transitions import Transitions
from lit_rl.curriculum import CurriculumConfig
from lit_rl.data.carried import carry_over, count_from
from lit_rl.data.config import HindsightReplay, PrioritizedReplay
from lit_rl.data.free_memory import refuse_too_large, size_text
from lit_rl.data.hindsight import Hindsight, InEpisodes, check_alone, check_goals
from lit_rl.data.priorities import Priorities
from lit_rl.data.replay import Replay, Sampled
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.goals import GoalRewards
from lit_rl.errors import ConfigError
from lit_rl.networks.actor_critic import as_tensor
from lit_rl.networks.kwargs import resolve_policy_kwargs
from lit_rl.networks.policies import check_observations, policy_class
from lit_rl.networks.small_images import refuse_small_image
from lit_rl.ops.draws import Draws, SideBySide
from lit_rl.ops.limits import Limit, at_least, between, switched
from lit_rl.ops.schedules import ScheduleLike, as_schedule
from lit_rl.ops.td import bootstrap_discount, window_return
from lit_rl.ops.tree import tree_map
from lit_rl.state.parts import Part
from lit_rl.state.streams import drawing_weights
from lit_rl.training.config import EvalConfig, Fast

TrainFreq = int | tuple[int, Literal["step", "episode"]]

_GATHERED = 1 << 21
"""Bytes, about, that are read from the replay at once for several gradient steps."""


class OffPolicy(TwoWays):
    """An algorithm that learns from stored transitions. A subclass defines `choose` and `learn`.

    Args: see `SAC`, whose settings these are too.
    """

    PARTS: ClassVar[Mapping[str, Part]] = {
        "replay": Part("the last transitions", "rank"),
        "priorities": Part("how likely each of them is sampled", "rank"),
        "resets": Part("how often the networks began anew, and up to which timestep that was looked for"),
    }
    FIXED: ClassVar[Mapping[str, str]] = {
        "env.n_envs": "rows of the replay are steps of all environments",
        "trainer.devices": "each rank has the replay of its own environments",
    }
    TAKES: ClassVar[Mapping[str, str]] = {"replay": "the last transitions"}
    LIMITS: ClassVar[Mapping[str, Limit]] = {
        "learning_rate": at_least(0),
        "buffer_size": at_least(1),
        "learning_starts": at_least(0),
        "batch_size": at_least(1),
        "tau": between(0, 1),
        "train_freq": at_least(1),
        "gradient_steps": at_least(-1),
        "n_steps": at_least(1),
        "param_resets": at_least(1),
    }
    SCRATCH: ClassVar[Mapping[str, str]] = {
        "sampling": "made from seed and counters",
        "exploring": "made from seed and counters",
        "cycle_begin": "the first row of the cycle that goes on",
        "hindsight": "made from the replay",
        "relabelling": "made from seed and counters",
        "goal_rewards": "made from the settings of the environments",
    }

    def __init__(
        self,
        env: EnvConfig,
        policy: str,
        learning_rate: ScheduleLike,
        buffer_size: int,
        learning_starts: int,
        batch_size: int,
        tau: float,
        gamma: float,
        train_freq: TrainFreq,
        gradient_steps: int,
        n_steps: int,
        prioritized_replay: bool | PrioritizedReplay,
        her: bool | HindsightReplay,
        on_promotion: Literal["keep", "drop"],
        policy_kwargs: dict[str, Any] | None,
        fast: Fast,
        max_bad_updates: int,
        cycles_per_iteration: int,
        total_timesteps: int,
        seed: int,
        curriculum: CurriculumConfig | None,
        evaluation: EvalConfig | None,
        param_resets: list[int] | None,
    ) -> None:
        super().__init__(
            env, total_timesteps, seed, gamma, curriculum, evaluation, max_bad_updates, cycles_per_iteration
        )
        self.policy_class = policy_class(policy, self.POLICIES)
        self.policy_kwargs = resolve_policy_kwargs(policy_kwargs, self.policy_class)
        self.learning_rate = as_schedule(learning_rate, "model.learning_rate")
        self.buffer_size, self.learning_starts, self.batch_size = buffer_size, learning_starts, batch_size
        self.tau, self.gradient_steps, self.n_steps = tau, gradient_steps, n_steps
        self.train_freq, self.train_unit = (train_freq, "step") if isinstance(train_freq, int) else train_freq
        self.prioritized_replay = switched(prioritized_replay, PrioritizedReplay, "model.prioritized_replay")
        self.her = switched(her, HindsightReplay, "model.her")
        self.on_promotion, self.fast = on_promotion, fast
        self.resets = ParamResets(param_resets, total_timesteps)
        self.cycle_begin, n_envs = 0, self.env_config.n_envs
        if self.train_unit == "episode" and n_envs > 1:
            raise ConfigError(
                f"model.train_freq counts episodes, and env.n_envs is {n_envs}: their episodes end at different times; "
                "use env.n_envs: 1, or a number of steps."
            )
        if self.her is not None:
            check_alone(self.prioritized_replay is not None, n_steps, bool(self.curriculum and self.curriculum.draws))
        if on_promotion == "drop" and self.curriculum is not None and not self.curriculum.promotes:
            raise ConfigError("model.on_promotion: drop needs a list of levels, and none is promoted here; remove it.")
        if buffer_size < n_envs:
            raise ConfigError(f"model.buffer_size is {buffer_size}, fewer than the environments, env.n_envs: {n_envs}.")

    # -- networks and replay -------------------------------------------------------------------------------------

    def check_ranks(self) -> None:
        if self.batch_size % self.ranks.size:
            raise ConfigError(
                f"model.batch_size is {self.batch_size}, and {self.ranks.size} ranks (trainer.devices times "
                f"trainer.num_nodes) cannot share that evenly; use a multiple of {self.ranks.size}."
            )

    @property
    def own_batch(self) -> int:
        """Transitions of a batch that this rank samples from the replay of its environments."""
        return self.batch_size // self.ranks.size

    @property
    def own_key(self) -> tuple[int, ...]:
        """What tells the random streams of this rank's batches from those of others."""
        return () if self.ranks.alone else (self.ranks.rank,)

    def build_policy(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> nn.Module:
        self.check_action_space(action_space)
        check_observations(self.policy_class, self.POLICIES, observation_space)
        refuse_small_image(observation_space, self.policy_class, self.policy_kwargs)
        self._build_replay()
        policy: nn.Module = self.build_actor_and_critics(observation_space, action_space)
        return policy

    def _build_replay(self) -> None:
        rows = self.ranks.rows(self.env_config.n_envs)
        stored = self.stored_action_space()
        refuse_too_large(self.buffer_size, self._bytes_needed() * self.ranks.local_size)
        self.replay = Replay(self._own_capacity, len(rows), self.observation_space, stored)
        each = Replay.bytes_needed(1, 1, self.observation_space, stored) // 2
        self._together = max(_GATHERED // (each * self.own_batch), 1)
        per = self.prioritized_replay
        self.priorities = None if per is None else Priorities(self.replay, per)
        self.hindsight: Hindsight | None = None
        if self.her is not None:
            self._look_back(self.her)
        batch = self.own_batch
        self.sampling = Draws(self.seed, "replay", *self.own_key, draw=lambda rng, n: rng.random((n, batch)))
        self.exploring = SideBySide([Draws(self.seed, "exploration", i, draw=self.draw_exploration) for i in rows])

    def describe(self) -> list[str]:
        """Lines for the banner: what the replay takes."""
        ranks, size = self.ranks.size, size_text(self._bytes_needed() * self.ranks.size)
        held, most = len(self.replay) * ranks, self.replay.rows * self.env_config.n_envs
        return [f"replay: {held:,} of {most:,} transitions, {size} when full"]

    def take_part(self, part: str, state: dict[str, Any], what: str) -> str:
        levels = len(self.levels) if self.her is not None and self.curriculum is not None else None
        there = carry_over(self.replay, state, what, levels)
        if self.priorities is not None:
            self.priorities.begin_at(self.replay.begin)
        kept = len(self.replay)
        self.counters.refilled_at = 0
        return f"{kept:,} transitions loaded" + (f", the newest of {there:,}" if kept < there else "")

    def begin_at(self, steps: int, counted: int) -> None:
        count_from(self.replay, steps)
        if self.priorities is not None:
            self.priorities.begin_at(steps)
        if done := self.counters.timesteps:
            self.resets.skip(done)
            self.counters.refilled_at = done + max(self.learning_starts, self.batch_size)

    def _bytes_needed(self) -> int:
        """Memory of a full replay."""
        own, capacity = len(self.ranks.rows(self.env_config.n_envs)), self._own_capacity
        needed = Replay.bytes_needed(capacity, own, self.observation_space, self.stored_action_space())
        return needed + (0 if self.prioritized_replay is None else Priorities.bytes_needed(capacity))

    @property
    def _own_capacity(self) -> int:
        """This rank's share of `buffer_size`."""
        n_envs = self.env_config.n_envs
        return self.buffer_size // n_envs * len(self.ranks.rows(n_envs))

    def _look_back(self, config: HindsightReplay) -> None:
        check_goals(self.observation_space)
        self.hindsight = hindsight = Hindsight(self.replay, config, self.own_batch)
        count = hindsight.relabelled
        self.relabelling = Draws(self.seed, "hindsight", *self.own_key, draw=lambda rng, n: rng.random((n, count)))
        self.goal_rewards = GoalRewards(self.env_config, self.levels)

    def check_action_space(self, space: spaces.Space[Any]) -> None:
        """Refuse actions that the algorithm is not for, and look at those of this run."""
        self.check_actions(space)

    @abstractmethod
    def make_networks(self, observation_space: Any, action_space: Any) -> Any:
        """Stable-baselines3's policy, with random weights drawn from torch's global stream."""

    @abstractmethod
    def build_actor_and_critics(self, observation_space: Any, action_space: Any) -> Any:
        """The policy, and what an algorithm makes once beside it."""

    @abstractmethod
    def stored_action_space(self) -> spaces.Space[Any]:
        """Of actions as they are stored."""

    @abstractmethod
    def draw_exploration(self, rng: np.random.Generator, steps: int) -> Any:
        """Random numbers of one environment for `steps` steps, whatever is done with them."""

    @abstractmethod
    def choose(self, drawn: Any, warmup: bool) -> tuple[np.ndarray, np.ndarray]:
        """Actions of this step as they are stored and as the environments take them.

        Args:
            drawn: what `draw_exploration` gave for this step, each part [N, ...]; it must not be written to.
            warmup: whether learning has not started, so that actions are random.
        """

    @abstractmethod
    def learn(self, steps: int) -> dict[str, float]:
        """Take gradient steps; returns metrics by SB3's names."""

    def after_step(self, ended: list[int]) -> None:
        """A step of all environments is over; episodes of `ended` have."""

    # -- a cycle -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def collect(self) -> None:
        """`train_freq` steps of all environments, or of the only one as many episodes."""
        self.training_mode(False)
        self._look_at_level()
        self.cycle_begin, episodes = self.replay.end, 0
        with self.full_precision():
            while (self.collected if self.train_unit == "step" else episodes) < self.train_freq:
                episodes += self._step()
        self.play.finish(None)

    @property
    def collected(self) -> int:
        """Steps of all environments in the cycle that goes on."""
        return self.replay.end - self.cycle_begin

    def _step(self) -> int:
        """One step of all environments; returns how many episodes ended."""
        play, replay = self.play, self.replay
        assert play.obs is not None
        replay.observe(play.obs)
        stored, taken = self.choose(self.exploring[replay.end], play.timesteps < self.learning_starts)
        level = 0 if self.curriculum is None else play.levels.copy()
        result = play.step(taken)
        self.normalizer.update_rewards(result.reward, result.terminated | result.truncated)
        replay.add(stored, result.reward, result.terminated, result.truncated, result.obs, result.finals, level)
        self.after_step([row for row, _ in result.finals])
        return len(result.finals)

    def _look_at_level(self) -> None:
        """At a promotion, let what was collected on earlier levels go, if that is wanted."""
        if self.curriculum is None or self.on_promotion == "keep":
            return
        now = [change for change in self.curriculum.history if change.timesteps == self.counters.timesteps]
        if any(change.new > change.old for change in now):
            self.replay.forget()

    def update(self, experience: None) -> dict[str, float]:
        """The gradient steps of a cycle, once learning has started."""
        metrics = self.rollout_metrics()
        steps = self.gradient_steps if self.gradient_steps >= 0 else self.collected * self.env_config.n_envs
        starts = max(self.learning_starts, self.counters.refilled_at)
        if self.counters.timesteps <= starts or steps == 0 or not self._can_sample():
            return metrics
        if self.resets.due(self.counters.timesteps):
            self.begin_anew()
        self.training_mode(True)
        metrics |= self._mean_of_ranks(self.learn(steps))
        rate = self.learning_rate(self.progress_remaining)
        metrics |= {"train/learning_rate": rate, "train/n_updates": self.counters.updates}
        if self.counters.bad_updates:
            metrics["train/bad_updates"] = self.counters.bad_updates
        if self.resets:
            metrics["train/param_resets"] = self.resets.done
        return metrics

    def _can_sample(self) -> bool:
        """Whether every rank has something to learn from."""
        return all(self.ranks.gather(len(self.replay if self.hindsight is None else self.hindsight) > 0))

    def _mean_of_ranks(self, metrics: dict[str, float]) -> dict[str, float]:
        if self.ranks.alone:
            return metrics
        of_all = self.ranks.gather(metrics)
        return {name: sum(each[name] for each in of_all) / len(of_all) for name in metrics}

    def begin_anew(self) -> None:
        """Give networks, targets and optimizers the state that they have at the start of a run.

        Weights come from a stream of their own for each reset, and are put into the tensors that are there.
        """
        with drawing_weights(self.stream("reset_weights", self.resets.done)):
            policy = self.make_networks(self.normalizer.policy_space(self.observation_space), self.action_space)
        self.policy.load_state_dict(policy.state_dict())
        for optimizer, new in zip(self.optimizers_now(), self.make_optimizers(), strict=True):
            optimizer.load_state_dict(new.state_dict())

    def rollout_metrics(self) -> dict[str, float]:
        """What is logged of playing."""
        return {"time/episodes": self.counters.episodes}

    def batches(self, steps: int) -> Iterator[Transitions]:
        """Those of the next gradient steps, the first of which `counters.updates` counts, one after the other."""
        for whole in self.gathered(steps):
            yield from whole.split(self.own_batch)

    def gathered(self, steps: int) -> Iterator[Transitions]:
        """Those of the next gradient steps as one, or as few: as many at once as are not in one another's way."""
        first = self.counters.updates
        together = self._together if self.priorities is None and self.hindsight is None else 1
        for begin in range(0, steps, together):
            count = min(together, steps - begin)
            yield self._gather(range(first + begin, first + begin + count))

    def _gather(self, updates: range) -> Transitions:
        """The batches of some gradient steps, read from the replay at once."""
        at = self._positions(np.concatenate([self.sampling[update] for update in updates]))
        steps = self.replay.steps(at, self.n_steps)
        if self.hindsight is not None and isinstance(at, InEpisodes):
            self.hindsight.relabel(steps, at, self.relabelling[updates[0]], self.goal_rewards)
        reward = window_return(self.normalizer.normalize_rewards(steps.reward), self.gamma)
        discount = bootstrap_discount(steps.length, steps.terminated, self.gamma)
        return Transitions(
            self._seen(steps.obs),
            steps.action.to(self.device),
            torch.from_numpy(reward.astype(np.float32)).to(self.device),
            self._seen(steps.next_obs),
            torch.from_numpy(discount.astype(np.float32)).to(self.device),
            at,
            self._weight(at),
        )

    def _positions(self, uniform: np.ndarray) -> Sampled:
        if self.hindsight is not None:
            return self.hindsight.positions(uniform)
        return (self.priorities or self.replay).positions(uniform)

    def _weight(self, at: Sampled) -> Tensor | None:
        if self.priorities is None:
            return None
        weight = self.priorities.weights(at, self.priorities.beta(self.progress_remaining))
        return torch.tensor(weight, dtype=torch.float32, device=self.device)

    def prioritize(self, batch: Transitions, value: Tensor, target_B: Tensor) -> None:
        """Let the priorities of a batch follow the errors of its values: [B], or of K critics [K, B] their mean."""
        if self.priorities is not None:
            error = (value - target_B).abs().reshape(-1, len(target_B))
            self.priorities.update(batch.at, error.mean(dim=0).cpu().numpy())

    def _seen(self, obs: Any) -> Any:
        """Stored observations as the policy sees them with the moments of now."""
        if not self.normalizer.parts:
            return tree_map(lambda part: part.to(self.device), obs)
        return as_tensor(self.normalizer.normalize_obs(tree_map(Tensor.numpy, obs)), self.device)
