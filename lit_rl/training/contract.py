"""What an algorithm says of itself on its class, what it defines, and what it is given (docs/algorithms.md)."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from gymnasium import spaces
from lightning.pytorch import LightningModule
from torch import nn
from torch.optim import Optimizer

from lit_rl.curriculum import Curriculum, Played
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.normalize import Normalizer
from lit_rl.errors import ConfigError
from lit_rl.networks.tensors import MOMENTS, Table
from lit_rl.ops.limits import SEEDS, Limit, at_least, between
from lit_rl.ops.schedules import Clock, Schedule
from lit_rl.ops.streams import generator
from lit_rl.ranks.group import Ranks
from lit_rl.state.parts import Part
from lit_rl.state.records import Counters, EpisodeWindow, LogBook
from lit_rl.state.scheduled_lr import ScheduledLR
from lit_rl.training.config import EvalConfig, Fast
from lit_rl.training.descent import Descent
from lit_rl.training.fast import BY_AUTOGRAD
from lit_rl.training.play import Play
from lit_rl.training.score import Score

Masks = Literal["refused", "taken", "needed"]
"""What an algorithm makes of the actions that an environment allows: it cannot, it can, or it has to know them."""


class Algorithm(LightningModule):
    """The contract between an algorithm and the life cycle around it. Subclass `RLModule`, which carries it out.

    What a class names in the mappings adds to what the classes it derives from name in theirs.
    """

    PARTS: ClassVar[Mapping[str, Part]] = {
        "counters": Part("timesteps, iterations, episodes, updates, gradient steps, skipped ones"),
        "clock": Part("target and horizon of every schedule"),
        "episodes": Part("window of finished episodes behind rollout/ep_rew_mean"),
        "curriculum": Part("levels, their counts, windows and bounds, history"),
        "evaluation": Part("result of the last evaluation", attribute="score.evaluated"),
        "best": Part("best score so far", attribute="score.best"),
        "logs": Part("position of every log file, time spent", attribute="log_book"),
        "environments": Part("episodes in flight; discounted returns of the reward scaling", "rank", "play"),
        "streams": Part("global random streams of Python, NumPy, torch and CUDA", "rank"),
    }
    """Parts of the state, beside the networks, optimizers and schedulers that the Trainer keeps: by attribute."""
    SCRATCH: ClassVar[Mapping[str, str]] = {}
    """Attributes that change and are no state, and why: such as memory that is filled anew before it is read."""
    TENSORS: ClassVar[Table] = MOMENTS
    """What the tensors of `state_dict` belong to, by the beginning of their names: the parts of `warmstart.load`."""
    TAKES: ClassVar[Mapping[str, str]] = {}
    """Parts of a rank's state that `warmstart.load` may name too, and what they are; `take_part` takes them."""
    FREE: ClassVar[Mapping[str, str]] = {
        "total_timesteps": "the target moves, and schedules do what resume.schedule says",
        "max_bad_updates": "says when to give up",
        "cycles_per_iteration": "says how often there is a look from outside",
        "evaluation.stop_on_reward": "says when to end",
    }
    """Settings that may change at a resume, and why they do not change what is learned."""
    FIXED: ClassVar[Mapping[str, str]] = {}
    """Settings that cannot change at a resume, and why."""
    LIMITS: ClassVar[Mapping[str, Limit]] = {
        "total_timesteps": at_least(1),
        "seed": SEEDS,
        "gamma": between(0, 1),
        "max_bad_updates": at_least(1),
        "cycles_per_iteration": at_least(1),
    }
    """Ranges of the settings that are numbers or schedules of them; any other number has to be finite."""
    POLICIES: ClassVar[Mapping[str, type[Any]]] = {}
    """Policies by the names that `model.policy` takes; the first is the base of all."""

    MASKS: ClassVar[Masks] = "refused"
    """Whether it knows what to do with `env.action_masks`."""

    policy: nn.Module
    learning_rate: Schedule

    fast: Fast = False
    """Whether gradients are written by hand; an algorithm that can have them so takes it as a setting."""
    gradients: str = BY_AUTOGRAD
    """How they are made."""
    gradients_before: str | None = None
    """How they were, in the run that goes on."""

    env_config: EnvConfig
    eval_config: EvalConfig
    seed: int
    gamma: float
    asked_to_stop: Callable[[], str | None]
    """Gives the signal for which what takes long within an iteration has to be given up, once there is one."""
    curriculum: Curriculum | None
    """What is played next; `None` for a run without levels."""
    counters: Counters
    clock: Clock
    episodes: EpisodeWindow
    log_book: LogBook
    score: Score
    play: Play
    descent: Descent
    normalizer: Normalizer

    # -- what it defines -----------------------------------------------------------------------------------------

    @abstractmethod
    def build_policy(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> nn.Module:
        """The networks, with random weights drawn from torch's global stream. `configure_optimizers` comes later."""

    @abstractmethod
    def collect(self) -> Any:
        """Play with the current weights (`play.step`), and end with `play.finish`."""

    @abstractmethod
    def update(self, experience: Any) -> dict[str, float]:
        """Improve the weights with what `collect` returned; returns metrics by SB3's names."""

    @abstractmethod
    def policy_actions(self, policy_obs: Any, rng: np.random.Generator | None = None) -> np.ndarray:
        """Actions as the environment takes them, for observations as the policy sees them.

        The most likely ones, or with `rng` such as training draws.
        """

    @classmethod
    def check_actions(cls, space: spaces.Space[Any]) -> None:
        """Refuse actions that the algorithm is not for; here it is for all.

        Raises:
            ConfigError: says which it is for.
        """

    def sample_actions(self, policy_obs: Any, rng: np.random.Generator) -> np.ndarray:
        """Actions drawn from the policy itself, without noise that training adds to explore."""
        return self.policy_actions(policy_obs, rng)

    def policy_step(
        self,
        policy_obs: Any,
        rng: np.random.Generator | None = None,
        memory: Any = None,
        begun: np.ndarray | None = None,
        masks: np.ndarray | None = None,
        exploring: bool = True,
    ) -> tuple[np.ndarray, Any]:
        """Actions for observations of N environments that are played beside training, and what is remembered of them.

        Where a policy remembers nothing and knows no masks, these are those of `policy_actions`.

        Args:
            policy_obs: as the policy sees them.
            rng: where the noise of drawn actions comes from; `None` takes the most likely ones.
            memory: what the call before has returned; `None` at first.
            begun: bool [N], whose episode begins with this observation; `None` where none does, or all do at first.
            masks: bool [N, M], which actions are allowed (`envs.masks`); `None` allows all.
            exploring: whether drawn actions are such as training draws, or drawn from the policy itself.
        """
        draws = rng is not None and not exploring
        return (self.sample_actions(policy_obs, rng) if draws else self.policy_actions(policy_obs, rng)), memory  # type: ignore[arg-type]

    def episode_scores(self, experience: Any) -> list[float]:
        """How much there was to learn from each episode of `play.ended`, where a curriculum asks; equal on all ranks.

        An algorithm that defines it keeps what belongs to episodes in flight in its state.

        Args:
            experience: what the `collect` before has returned.
        """
        raise NotImplementedError

    def forget_episodes(self, envs: list[int]) -> None:
        """The episodes in flight of these environments, of all ranks, are no more: they were lost."""

    def check_curriculum(self) -> None:
        """Refuse a curriculum that waits for evaluations that are never made, or for scores that nobody gives.

        Raises:
            ConfigError: says what it needs.
        """
        if self.curriculum is not None and self.curriculum.needs_evaluation and self.eval_config.every is None:
            raise ConfigError("curriculum: a rule waits for evaluations, and there are none; give eval.every.")
        gives = type(self).episode_scores is not Algorithm.episode_scores
        if self.curriculum is not None and self.curriculum.wants_scores and not gives:
            raise ConfigError(
                f"curriculum.sample: replay goes by the mean absolute advantage of each episode, which "
                f"{type(self).__name__} does not work out; use PPO or A2C, or sample: learnability."
            )

    def describe(self) -> list[str]:
        """Lines of its own for what is said at the start."""
        return []

    def take_part(self, part: str, state: dict[str, Any], what: str) -> str:
        """Begin a new run with a part of another's state, one of `TAKES`; returns what to say.

        Args:
            part: its name.
            state: as it lies in a checkpoint.
            what: where it comes from, for messages.

        Raises:
            ConfigError: it does not fit.
        """
        raise NotImplementedError

    def begin_at(self, steps: int, counted: int) -> None:
        """Go on where a run of another program stands, whose environments have each taken so many steps.

        Counters say so already; parts of `TAKES` come after it.

        Args:
            steps: that they have taken.
            counted: those after which everything was done that comes after a step: all of them, or all but the newest.
        """

    def check_ranks(self) -> None:
        """Refuse a number of ranks that the settings do not fit."""

    def check_export(self) -> None:
        """Refuse settings whose networks stable-baselines3 does not have."""

    # -- what it is given, beside play and descent ---------------------------------------------------------------

    @property
    @abstractmethod
    def ranks(self) -> Ranks:
        """The processes that train this run."""

    def stream(self, name: str, *key: int) -> np.random.Generator:
        """The run's random stream of this name and these counters; see `ops.streams.generator`."""
        return generator(self.seed, name, *key)

    @property
    def progress_remaining(self) -> float:
        """1 at the run's start, 0 at the end of its schedules."""
        return self.clock.progress_remaining(self.counters.timesteps)

    def scheduled(self, optimizer: Optimizer, schedule: Schedule | None = None) -> dict[str, Any]:
        """An optimizer whose learning rate follows a schedule (`learning_rate`, if none is given), for Lightning."""
        follower = ScheduledLR(optimizer, self.learning_rate if schedule is None else schedule, self.clock)
        return {"optimizer": optimizer, "lr_scheduler": follower}

    def optimizers_now(self) -> list[Any]:
        """The optimizers, bare, in the order of `configure_optimizers`, with the learning rates of this timestep.

        Lightning's wrapper around each costs a fifth of a small step.
        """
        optimizers: Any = self.optimizers(use_pl_optimizer=False)
        followers: Any = self.lr_schedulers() or []
        for follower in followers if isinstance(followers, list) else [followers]:
            follower.set_timestep(self.counters.timesteps)
        return list(optimizers) if isinstance(optimizers, list) else [optimizers]

    def full_precision(self) -> contextlib.AbstractContextManager[Any]:
        """Where the Trainer's mixed precision has no part: environments are acted in with float32."""
        kind = self.device.type
        return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else contextlib.nullcontext()

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """Scales losses in half precision; its state lies in Lightning's part of a checkpoint."""
        return getattr(self._trainer.precision_plugin, "scaler", None) if self._trainer is not None else None

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Of one environment, before normalisation."""
        assert self.play.spaces is not None
        return self.play.spaces[0]

    @property
    def action_space(self) -> spaces.Space[Any]:
        assert self.play.spaces is not None
        return self.play.spaces[1]

    @property
    def levels(self) -> list[Played]:
        """Of the curriculum; empty without one."""
        return [] if self.curriculum is None else self.curriculum.levels
