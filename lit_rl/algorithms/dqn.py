"""Deep Q-learning (Mnih et al. 2015), with stable-baselines3's settings. Shapes: N environments, B a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.dqn.policies import CnnPolicy, DQNPolicy, MultiInputPolicy, QNetwork
from torch import Tensor, nn
from torch.optim import Optimizer

from lit_rl.algorithms.off_policy import OffPolicy, TrainFreq
from lit_rl.algorithms.transitions import Transitions, parts_of_tree
from lit_rl.curriculum import CurriculumConfig
from lit_rl.data.config import HindsightReplay, PrioritizedReplay
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError
from lit_rl.networks.critics import Outputs
from lit_rl.networks.dense_off_policy import DenseOutputs
from lit_rl.networks.dueling import make_dueling
from lit_rl.networks.policies import make_policy
from lit_rl.networks.tensors import Table, within
from lit_rl.ops.gradients import times
from lit_rl.ops.limits import Limit, above, at_least, between
from lit_rl.ops.schedules import ScheduleLike, as_schedule
from lit_rl.ops.td import huber_loss, td_target
from lit_rl.training.config import EvalConfig, Fast

_ROWS = 512
"""Observations, about, that the target network sees at once: more of them leave the processor's caches."""


class Loss(NamedTuple):
    """Of a batch.

    Args:
        loss: its value.
        slope: its gradient with respect to the network's outputs.
        value: of the actions that were taken, [B, ...].
        target: what they should be.
    """

    loss: Tensor
    slope: Tensor
    value: Tensor
    target: Tensor


class DQN(OffPolicy):
    """DQN with a target network, for Discrete actions.

    Args:
        env: the environments.
        policy: `MlpPolicy`, `CnnPolicy`, `MultiInputPolicy`, or the import path of an SB3 `DQNPolicy`.
        learning_rate: a number, `lin_1e-4`, or a schedule.
        buffer_size: transitions that are kept, of all environments together.
        learning_starts: timesteps before the first gradient step; actions are random until then.
        batch_size: transitions in a gradient step.
        tau: share of the network that its target takes over; 1 copies it.
        gamma: discount factor.
        train_freq: steps of all environments between two updates; `[1, episode]` for episodes of the only one.
        gradient_steps: of an update; -1 for one a transition that was collected.
        n_steps: rewards that a target takes in before it bootstraps.
        prioritized_replay: sample what is surprising more often: `true`, or `{alpha: 0.6, beta: 0.4}`.
        her: learn from goals that were reached by chance, in a goal environment: `true`, or `{n_sampled_goal: 4}`.
        target_update_interval: timesteps between two updates of the target.
        exploration_fraction: share of the run over which random actions become fewer.
        exploration_initial_eps: share of random actions at the start.
        exploration_final_eps: the same from then on.
        share_exploration: let one draw decide for all environments of a step, as stable-baselines3 does.
        double_q: choose the next action by the network itself, and value it by the target (van Hasselt et al. 2016).
        dueling: let the network give a state's value and its actions' advantages (Wang et al. 2016), whose sum are the
            values of the actions.
        max_grad_norm: bound of the gradient's norm.
        param_resets: timesteps at which networks, targets and optimizers begin anew while the replay stays.
        on_promotion: `keep` what was collected on earlier levels of the curriculum, or `drop` it.
        fast: networks with a backward pass written by hand where they are plain perceptrons (`auto`), `false` for
            torch's autograd, or `compile` for that with torch.compile; the last bits of a run depend on it.
        max_bad_updates: gradient steps whose loss or gradient is not finite are skipped; after so many in a row the run
            stops.
        cycles_per_iteration: cycles of steps and their updates in one iteration; logs, checkpoints and signals come
            between iterations, and nothing that is learned depends on it.
        policy_kwargs: keyword arguments of the policy, as in SB3; classes by their import path.
        total_timesteps: the run's target.
        seed: the run's seed.
        curriculum: the run's levels.
        evaluation: when and how the policy is evaluated beside training.
    """

    SCRATCH: ClassVar[Mapping[str, str]] = {
        "net": "made of the policy, whose parameters it has",
        "target": "the same",
    }
    POLICIES: ClassVar[Mapping[str, type[Any]]] = {
        "MlpPolicy": DQNPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    LIMITS: ClassVar[Mapping[str, Limit]] = {
        "target_update_interval": at_least(1),
        "exploration_fraction": between(0, 1),
        "exploration_initial_eps": between(0, 1),
        "exploration_final_eps": between(0, 1),
        "max_grad_norm": above(0, infinite=True),
    }
    TENSORS: ClassVar[Table] = within("policy.", {"": "policy"})
    FIXED: ClassVar[Mapping[str, str]] = {"dueling": "its networks are others"}
    PLAIN: ClassVar[tuple[type[nn.Module], str]] = (QNetwork, "q_net")
    """A network that may be a plain perceptron, and the attribute in which it has its layers."""

    def __init__(
        self,
        env: EnvConfig,
        policy: str = "MlpPolicy",
        learning_rate: ScheduleLike = 1e-4,
        buffer_size: int = 1_000_000,
        learning_starts: int = 100,
        batch_size: int = 32,
        tau: float = 1.0,
        gamma: float = 0.99,
        train_freq: TrainFreq = 4,
        gradient_steps: int = 1,
        n_steps: int = 1,
        prioritized_replay: bool | PrioritizedReplay = False,
        her: bool | HindsightReplay = False,
        target_update_interval: int = 10_000,
        exploration_fraction: float = 0.1,
        exploration_initial_eps: float = 1.0,
        exploration_final_eps: float = 0.05,
        share_exploration: bool = False,
        double_q: bool = False,
        dueling: bool = False,
        max_grad_norm: float = 10.0,
        param_resets: list[int] | None = None,
        on_promotion: Literal["keep", "drop"] = "keep",
        fast: Fast = "auto",
        max_bad_updates: int = 10,
        cycles_per_iteration: int = 64,
        policy_kwargs: dict | None = None,  # type: ignore[type-arg]
        total_timesteps: int = 1_000_000,
        seed: int = 0,
        curriculum: CurriculumConfig | None = None,
        evaluation: EvalConfig | None = None,
    ) -> None:
        super().__init__(
            env, policy, learning_rate, buffer_size, learning_starts, batch_size, tau, gamma, train_freq,
            gradient_steps, n_steps, prioritized_replay, her, on_promotion, policy_kwargs, fast, max_bad_updates,
            cycles_per_iteration, total_timesteps, seed, curriculum, evaluation, param_resets,
        )  # fmt: skip
        self.target_update_interval = target_update_interval
        self.max_grad_norm: float | None = max_grad_norm
        self.share_exploration, self.double_q = share_exploration, double_q
        self.dueling = dueling
        shape = "linear" if exploration_fraction > 0 else "constant"
        self.exploration = as_schedule(
            {
                "start": exploration_initial_eps if exploration_fraction > 0 else exploration_final_eps,
                "end": exploration_final_eps,
                "shape": shape,
                "fraction": exploration_fraction or 1.0,
            },
            "model.exploration_fraction",
        )

    # -- networks ------------------------------------------------------------------------------------------------

    @classmethod
    def check_actions(cls, space: spaces.Space[Any]) -> None:
        if not isinstance(space, spaces.Discrete):
            raise ConfigError(f"model: {cls.__name__} is for Discrete actions; this environment has {space}.")

    def check_ranks(self) -> None:
        super().check_ranks()
        if self.share_exploration and not self.ranks.alone:
            raise ConfigError(
                "model.share_exploration: one draw for all environments is for one process; set trainer.devices: 1, or "
                "model.share_exploration: false."
            )

    def stored_action_space(self) -> spaces.Space[Any]:
        return self.action_space

    @staticmethod
    def networks_of(policy: Any) -> tuple[Any, Any]:
        """A policy's network and its target."""
        return policy.q_net, policy.q_net_target

    def make_networks(self, observation_space: Any, action_space: spaces.Space[Any]) -> Any:
        policy: Any = make_policy(
            self.policy_class, observation_space, action_space, self.learning_rate, policy_kwargs=self.policy_kwargs
        )
        if self.dueling:
            make_dueling(policy)
        self.networks_of(policy)[1].requires_grad_(False)
        return policy

    def check_export(self) -> None:
        if self.dueling:
            raise ConfigError(
                "export-sb3: model.dueling is true, and stable-baselines3 has no dueling network; only a run with "
                "model.dueling: false can be written for it."
            )

    def build_actor_and_critics(self, observation_space: Any, action_space: spaces.Space[Any]) -> Any:
        policy = self.make_networks(observation_space, action_space)
        net, target = self.networks_of(policy)
        self.net: Outputs | DenseOutputs = Outputs(net)
        self.target: Outputs | DenseOutputs = Outputs(target)
        return policy

    def by_hand(self) -> str | None:
        net, target = (DenseOutputs.of(each, *self.PLAIN) for each in self.networks_of(self.policy))
        if isinstance(net, str) or isinstance(target, str):
            return net if isinstance(net, str) else str(target)
        self.net, self.target = net, target
        return None

    def networks_of_update(self) -> tuple[list[Any], list[Any]]:
        return [self.net], [self.target]

    def make_optimizers(self) -> list[Optimizer]:
        return [self.optimizer_of(self.networks_of(self.policy)[0].parameters(), self.net)]

    # -- playing -------------------------------------------------------------------------------------------------

    def draw_exploration(self, rng: np.random.Generator, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Whether to explore, as a number in [0, 1), and a random action: [steps] each."""
        assert isinstance(self.action_space, spaces.Discrete)
        return rng.random(steps), rng.integers(int(self.action_space.n), size=steps)

    def choose(self, drawn: Any, warmup: bool) -> tuple[np.ndarray, np.ndarray]:
        uniform, random = drawn
        explore = (uniform[:1] if self.share_exploration else uniform) < self._epsilon(self.play.timesteps)
        chosen = random if warmup or explore.all() else np.where(explore, random, self.greedy(self.play.policy_obs))
        return chosen, chosen

    def _epsilon(self, timesteps: int) -> float:
        """The share of random actions at a timestep of the run."""
        return self.exploration(self.clock.progress_remaining(timesteps))

    def greedy(self, policy_obs: Any) -> np.ndarray:
        """The best actions for what the environments of this rank show, [N]."""
        best: np.ndarray = self.net.of_few(policy_obs).argmax(axis=1)
        return best

    def begin_at(self, steps: int, counted: int) -> None:
        super().begin_at(steps, counted)
        if counted < steps:
            self.after_step([])

    def after_step(self, ended: list[int]) -> None:
        if self.replay.end % max(self.target_update_interval // self.env_config.n_envs, 1) == 0:
            self.target.follow(self.net, self.tau)

    def rollout_metrics(self) -> dict[str, float]:
        return super().rollout_metrics() | {"rollout/exploration_rate": self._epsilon(self.counters.timesteps)}

    @torch.no_grad()
    def policy_actions(self, policy_obs: Any, rng: np.random.Generator | None = None) -> np.ndarray:
        self.training_mode(False)
        greedy = self.greedy(policy_obs)
        if rng is None:
            return greedy
        uniform, random = self.draw_exploration(rng, len(greedy))
        return np.where(uniform < self._epsilon(self.counters.timesteps), random, greedy)

    # -- learning ------------------------------------------------------------------------------------------------

    def learn(self, steps: int) -> dict[str, float]:
        """Gradient steps of the network; metrics as SB3 logs them."""
        losses, size = [], self.own_batch
        (optimizer,) = self.optimizers_now()
        for whole in self.gathered(steps):
            after = self.after(whole)
            for batch, values in zip(whole.split(size), parts_of_tree(after, size), strict=True):
                losses.append(self._gradient_step(optimizer, batch, values))
        return {"train/loss": sum(losses) / len(losses)}

    def target_values(self, whole: Transitions) -> Tensor:
        """What the target network, which follows between updates, makes of the next observations, [B, ...]."""
        rows = max(_ROWS // self.own_batch, 1) * self.own_batch
        return torch.cat([self.target.infer(part) for part in parts_of_tree(whole.next_obs, rows)])

    def after(self, whole: Transitions) -> Tensor:
        """Values of the next observations: of each action [B, N] where the network itself chooses among them, else the
        targets [B]."""
        values = self.target_values(whole)
        if self.double_q:
            return values
        return td_target(whole.reward, whole.discount, values.amax(dim=1))

    def _gradient_step(self, optimizer: Optimizer, batch: Transitions, after: Tensor) -> float:
        """One, with what `after` gives of it; its loss."""
        found = self.loss(batch, after)
        self.descent.step_by(
            optimizer, found.loss, lambda scale: self.net.backward(times(found.slope, scale)), self.max_grad_norm
        )
        self.prioritize(batch, found.value, found.target)
        self.counters.updates += 1
        return float(found.loss)

    def loss(self, batch: Transitions, after: Tensor) -> Loss:
        """Of a batch, with what `after` gives of it."""
        target = after
        if self.double_q:
            best = self.net.infer(batch.next_obs).argmax(dim=1, keepdim=True)
            target = td_target(batch.reward, batch.discount, after.gather(1, best)[:, 0])
        values, taken = self.net.forward(batch.obs), batch.action.long()[:, None]
        value = values.gather(1, taken)[:, 0]
        loss, slope = huber_loss(value, target, batch.weight)
        return Loss(loss, torch.zeros_like(values).scatter_(1, taken, slope[:, None]), value, target)
