"""The life cycle of a run inside Lightning: what every algorithm shares, and none of its maths."""

from __future__ import annotations

import contextlib
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lit_rl.checkpoint.manifest import LIGHTNING_FILE
from lit_rl.checkpoint.reader import load_bare, local_path
from lit_rl.curriculum import CurriculumConfig, Level, LevelChange
from lit_rl.data.episode import Episode
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentFailed
from lit_rl.envs.guard import check_obs, check_step
from lit_rl.envs.make import make_vector
from lit_rl.envs.normalize import Normalizer
from lit_rl.envs.vector import StepResult, VectorEnv
from lit_rl.errors import ConfigError, DataError
from lit_rl.ops.schedules import Clock, Schedule
from lit_rl.ops.streams import generator
from lit_rl.ops.tree import Obs
from lit_rl.ranks.group import Ranks
from lit_rl.state.parts import RANK_PARTS, RUN_PARTS, Stateful, capture, restore
from lit_rl.state.plain import to_plain
from lit_rl.state.records import Best, Counters, EpisodeWindow, Evaluated, LogBook
from lit_rl.state.space import describe, space_from_plain, space_to_plain
from lit_rl.state.streams import GlobalStreams
from lit_rl.training.evaluation import EvalConfig, Evaluation, evaluate, evaluate_beside, evaluation_envs
from lit_rl.training.parts import CurriculumPart, EnvironmentsPart, Journal, make_curriculum
from lit_rl.training.settings import refuse_foreign_classes, to_plain_settings
from lit_rl.training.trainer import check_trainer

STATE_FORMAT = 1
T = TypeVar("T")


class RLModule(LightningModule):
    """A policy with its rollout, its update and everything that belongs to the run.

    One `training_step` is one iteration: collect a rollout, update, count. The batch that Lightning hands over is a
    bare number and means nothing. A subclass defines `build_policy`, `collect`, `update` and `configure_optimizers`.

    Args:
        env: the environments, as an `EnvConfig` or the same as nested dictionaries.
        total_timesteps: the run ends at the first iteration boundary at or past this timestep.
        seed: every random stream of the run derives from it.
        gamma: discount factor; also that of the reward scaling, unless `env.normalize.gamma` names another.
        curriculum: the levels of the run, as a `CurriculumConfig` or the same as nested dictionaries.
        evaluation: when and how the policy is evaluated beside training, as an `EvalConfig` or a dictionary.
    """

    policy: nn.Module
    normalizer: Normalizer
    learning_rate: Schedule

    def __init__(
        self,
        env: EnvConfig | dict[str, Any],
        total_timesteps: int,
        seed: int,
        gamma: float,
        curriculum: CurriculumConfig | dict[str, Any] | None = None,
        evaluation: EvalConfig | dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.ranks = Ranks()
        """The processes that train this run; `begin` sets it before anything is built."""
        self.env_config = EnvConfig.from_plain(env) if isinstance(env, dict) else env
        if total_timesteps < 1:
            raise ConfigError(f"total_timesteps is {total_timesteps}; it must be at least 1.")
        self.seed = seed
        self.gamma = gamma
        self.curriculum = make_curriculum(curriculum, self.env_config.n_envs)
        """Which level is current; `None` for a run without levels."""
        self.eval_config = evaluation if isinstance(evaluation, EvalConfig) else EvalConfig.from_plain(evaluation or {})
        self.eval_config.check_levels(self.levels)
        if self.curriculum is not None and self.curriculum.needs_evaluation and self.eval_config.every is None:
            raise ConfigError("curriculum: a rule waits for evaluations, and there are none; give eval.every.")
        self.counters = Counters()
        self.clock = Clock(target=total_timesteps, horizon=total_timesteps)
        self.episodes = EpisodeWindow()
        self.evaluated = Evaluated()
        self.best = Best()
        self.log_book = LogBook()
        self.metrics: dict[str, float] = {}
        """Metrics of the last iteration, by SB3's names."""
        self.ended: list[Episode] = []
        """Episodes that ended in the last iteration, in the order (step, environment)."""
        self.level_change: LevelChange | None = None
        """The step to another level at the end of the last iteration, if there was one."""
        self.evaluated_now: Evaluation | None = None
        """The evaluation made in the last iteration, if there was one."""
        self.evaluated_best = False
        """Whether that was the best so far."""
        self.journals: list[Journal] = []
        """Files of the run that are told of every iteration."""
        self.envs: VectorEnv | None = None
        self.on_ready: Callable[[], None] | None = None
        """Called once everything is in place and before the first iteration."""
        self.on_boundary: Callable[[], None] | None = None
        """Called at the end of every iteration, before anything of it is logged."""
        self._restarts_here = 0
        """Restarts of this rank's environments that are not in `counters` yet."""
        self.restarted_envs: list[int] = []
        """Environments whose episode in flight could not be brought back at the last resume."""
        self.evaluation_episodes = 20
        self.evaluation: Evaluation | None = None
        """Result of the last `test` or `validate`."""
        self._spaces: tuple[spaces.Space[Any], spaces.Space[Any]] | None = None
        self._obs: Obs | None = None
        self._policy_obs: Any = None
        self._resumed_rank: dict[str, Any] | None = None
        self.boundary: dict[str, Any] | None = None
        """This rank's state at the last iteration boundary, once an error has left the environments in the middle."""
        self._segment_start: tuple[float, int, float] | None = None

    # -- what an algorithm defines ------------------------------------------------------------------------------

    @abstractmethod
    def build_policy(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> nn.Module:
        """The networks, with random weights drawn from torch's global stream."""

    @abstractmethod
    def collect(self) -> Any:
        """Play one rollout with the current weights."""

    @abstractmethod
    def update(self, rollout: Any) -> dict[str, float]:
        """Improve the weights with a rollout; returns metrics by SB3's names."""

    @abstractmethod
    def predict(self, policy_obs: Any, rng: np.random.Generator | None = None) -> np.ndarray:
        """Actions as the environment takes them, for observations as the policy sees them.

        The most likely ones, or with `rng` such as training draws.
        """

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Any:
        """A module with the weights and moments of a checkpoint: a directory, its `lightning.ckpt`, or a bare `.ckpt`.

        Other arguments are Lightning's; keyword arguments replace settings of the checkpoint. Nothing is imported
        because the checkpoint says so: a policy class of your own has to be passed.
        """
        path = local_path(checkpoint_path)
        path = path / LIGHTNING_FILE if path.is_dir() else path
        refuse_foreign_classes(load_bare(path).get("hyper_parameters", {}), kwargs)
        kwargs["weights_only"] = True
        return super().load_from_checkpoint(path, *args, **kwargs)

    # -- building ----------------------------------------------------------------------------------------------

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Of one environment, before normalisation."""
        assert self._spaces is not None
        return self._spaces[0]

    @property
    def action_space(self) -> spaces.Space[Any]:
        assert self._spaces is not None
        return self._spaces[1]

    @property
    def levels(self) -> list[Level]:
        """Of the curriculum; empty without one."""
        return [] if self.curriculum is None else self.curriculum.levels

    def build_envs(self) -> VectorEnv:
        """Make this rank's environments, once."""
        if self.envs is None:
            rows = self.ranks.rows(self.env_config.n_envs)
            self.check_ranks()
            self.envs = make_vector(self.env_config, self.seed, rows, self.levels, self.ranks.local_size)
            if self._spaces is not None:
                self.check_spaces(*self._spaces, of="this environment")
            self._spaces = (self.envs.observation_space, self.envs.action_space)
        return self.envs

    def check_ranks(self) -> None:
        """Refuse a number of ranks that the settings do not fit."""

    def build_evaluation_envs(self) -> VectorEnv:
        """Make environments for evaluation in this process, with episode seeds of their own, once."""
        if self.envs is None:
            self.envs = evaluation_envs(self.env_config, self.seed, 1, self.levels)
            self._spaces = self._spaces or (self.envs.observation_space, self.envs.action_space)
        return self.envs

    def build_networks(self) -> None:
        """Make policy and normaliser for the spaces at hand, once. The global random streams are left as they were."""
        if hasattr(self, "policy"):
            return
        self.normalizer = Normalizer(
            self.env_config.normalize,
            self.observation_space,
            self.gamma,
            len(self.ranks.rows(self.env_config.n_envs)),
            gather=None if self.ranks.alone else self.ranks.gather_rows,
            in_step=self.in_step,
        )
        with torch.random.fork_rng():
            torch.manual_seed(int(generator(self.seed, "weights").integers(2**63)))
            self.policy = self.build_policy(self.normalizer.policy_space(self.observation_space), self.action_space)

    def check_spaces(self, observation: spaces.Space[Any], action: spaces.Space[Any], of: str) -> None:
        """Compare `observation` and `action` with the spaces of our environments.

        Raises:
            ConfigError: they differ in what weights depend on.
        """
        assert self.envs is not None
        for what, theirs, ours in (
            ("observation", observation, self.envs.observation_space),
            ("action", action, self.envs.action_space),
        ):
            if describe(theirs) != describe(ours):
                raise ConfigError(
                    f"the {what} space of {of} is {describe(theirs)}, but env {self.env_config.name} "
                    f"has {describe(ours)}."
                )

    # -- Lightning's hooks, in the order they run ---------------------------------------------------------------

    def setup(self, stage: str) -> None:
        if stage == "fit":
            check_trainer(self.trainer)
            if self.trainer.world_size != self.ranks.size:
                raise ConfigError(
                    f"the Trainer has {self.trainer.world_size} processes, and the run began in one; give the Trainer "
                    "to begin(module, trainer=trainer, ...)."
                )
            self.build_envs()

    def configure_model(self) -> None:
        if self._spaces is not None:
            self.build_networks()
            # Moments lie on the CPU, agree by themselves, and are none of DistributedDataParallel's business.
            self._ddp_params_and_buffers_to_ignore = [
                name for name, _ in self.named_buffers() if name.startswith("normalizer.")
            ]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["lit_rl"] = {
            "format": STATE_FORMAT,
            "algorithm": type(self).__name__,
            "observation_space": to_plain(space_to_plain(self.observation_space)),
            "action_space": to_plain(space_to_plain(self.action_space)),
            "run": capture(self.run_parts(), RUN_PARTS),
        }
        checkpoint["hyper_parameters"] = to_plain_settings(dict(self.hparams))
        checkpoint["hparams_name"] = "kwargs"

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        ours = checkpoint.get("lit_rl")
        if ours is None:
            raise DataError("this checkpoint was not written by lit_rl: it has no 'lit_rl' part.")
        if ours["algorithm"] != type(self).__name__:
            raise ConfigError(
                f"the checkpoint was written by {ours['algorithm']}, but model.class_path is {type(self).__name__}."
            )
        if self._spaces is None:
            self._spaces = (
                space_from_plain(ours["observation_space"]),
                space_from_plain(ours["action_space"]),
            )
        self.build_networks()
        restore(self.run_parts(), RUN_PARTS, ours["run"])

    def train_dataloader(self) -> range:
        return range(sys.maxsize)

    def on_train_start(self) -> None:
        """Begin or bring back the environments; global random streams come last, nothing may draw after them."""
        envs = self.build_envs()
        if self.curriculum is not None:
            envs.set_level(self.curriculum.level)
        if self._moments_apart:
            self.normalizer.begin_own()
        if self._resumed_rank is None:
            with _at(self.counters.timesteps):
                self._obs = envs.reset()
            check_obs(self._obs, envs.offset, self.counters.timesteps)
            self.normalizer.update_obs(self._obs)
            if self._moments_apart:
                self.normalizer.merge(self.ranks.gather(self.normalizer.own))
        else:
            with _at(self.counters.timesteps):
                restore(self.rank_parts(), RANK_PARTS, self._resumed_rank)
            self._resumed_rank = None
        self._policy_obs = self.normalizer.normalize_obs(self._obs)
        self._segment_start = (time.monotonic(), self.counters.timesteps, self.log_book.seconds)
        if self.on_ready is not None:
            self.on_ready()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        before = self.counters.timesteps
        rollout = self.collect()
        metrics = self.update(rollout)
        self.counters.iterations += 1
        if self.curriculum is not None:
            self.curriculum.record(self.ended, self.counters.timesteps - before)
        metrics |= self._evaluate_beside(before) | self._settle_envs() | self._advance()
        if self.on_boundary is not None:
            self.on_boundary()
        self.metrics = {**self.episodes.metrics(), **self._time_metrics(), **metrics}
        is_best = self.best.offer(self.score, self.counters.timesteps, self.score_level)
        self.evaluated_best = is_best and self.evaluated_now is not None
        for logger in self.loggers:
            logger.log_metrics(self.metrics, step=self.counters.timesteps)
        for journal in self.journals:
            journal.write(self)
        if self.finished:
            self.trainer.should_stop = True

    def _evaluate_beside(self, before: int) -> dict[str, float]:
        """Evaluate if it is time to; returns metrics."""
        self.evaluated_now = None
        config, now = self.eval_config, self.counters.timesteps
        if not config.due(before, now):
            return {}
        level = 0 if self.curriculum is None else self.curriculum.level
        found = self.ranks.first(lambda: evaluate_beside(self, config, self.levels, level, now))
        metrics = found.logged(self.levels, each=config.level == "all")
        self.evaluated_now = found
        self.evaluated = Evaluated(now, metrics["eval/mean_reward"], level if config.level == "current" else 0)
        if self.curriculum is not None:
            judged = found.on_level(level) if config.level == "all" else found
            self.curriculum.record_evaluation(judged.logged(self.levels, each=False))
        return metrics

    def step_envs(self, actions: np.ndarray, t: int) -> StepResult:
        """Step the environments, in step `t` of a rollout.

        Raises:
            EnvironmentFailed: one was lost, or sent what it may not; no moments or storage have been touched.
        """
        assert self.envs is not None
        timesteps = self.counters.timesteps + t * self.env_config.n_envs
        with _at(timesteps):
            result = self.envs.step(actions)
        check_step(result, self.envs.offset, timesteps)
        self._restarts_here += len(result.restarts)
        return result

    def _settle_envs(self) -> dict[str, float]:
        """Make anew which environments were lost since the last step, where that is wanted; returns metrics."""
        if self.env_config.on_env_crash == "restart":
            assert self.envs is not None
            restarts = self.envs.settle()
            if restarts:
                self.normalizer.returns[[row for restart in restarts for row in restart.rows]] = 0.0
                self._policy_obs = self.normalizer.normalize_obs(self._obs)
            self.counters.env_restarts += sum(self.ranks.gather(self._restarts_here + len(restarts)))
            self._restarts_here = 0
        return {"env/restarts": self.counters.env_restarts} if self.counters.env_restarts else {}

    def _advance(self) -> dict[str, float]:
        """Let the curriculum change its level; returns metrics."""
        if self.curriculum is None:
            return {}
        assert self.envs is not None
        self.level_change = self.curriculum.advance(self.counters.timesteps)
        if self.level_change is not None:
            self.envs.set_level(self.curriculum.level)
        return self.curriculum.metrics()

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Play `evaluation_episodes` episodes; the result is left in `evaluation`."""
        envs = self.build_evaluation_envs()
        if self.curriculum is not None:
            envs.set_level(self.curriculum.level)
        self.evaluation = evaluate(self, envs, self.evaluation_episodes)
        metrics = {f"test/{key}": value for key, value in self.evaluation.metrics().items()}
        self.log_dict(metrics, batch_size=1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """The same as `test_step`."""
        self.test_step(batch, batch_idx)

    def teardown(self, stage: str) -> None:
        if self.envs is not None:
            self.envs.close()
            self.envs = None

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Schedules follow timesteps, not Lightning's steps."""

    @property
    def finished(self) -> bool:
        """Whether the run has reached its target, or an evaluation its `stop_on_reward`."""
        return self.counters.timesteps >= self.clock.target or self.stop_on_reward_reached

    @property
    def stop_on_reward_reached(self) -> bool:
        """Whether an evaluation of the last iteration reached `stop_on_reward`."""
        return self.evaluated_now is not None and self.was_reached(self.evaluated)

    def was_reached(self, evaluated: Evaluated) -> bool:
        """Whether an evaluation reached `stop_on_reward`."""
        wanted, on_current = self.eval_config.stop_on_reward, self.eval_config.level == "current"
        is_last = not on_current or evaluated.level == max(len(self.levels) - 1, 0)
        return wanted is not None and evaluated.reward is not None and is_last and evaluated.reward >= wanted

    @property
    def score(self) -> float | None:
        """By which checkpoints are compared: the mean return of the evaluation made just now, or of the last episodes
        (with a curriculum, of those on its current level). `None` where there is none.
        """
        if self.eval_config.every is not None:
            return self.evaluated.reward if self.evaluated.timesteps == self.counters.timesteps else None
        if self.curriculum is not None:
            return self.episodes.mean_return_on(self.curriculum.level)
        return self.episodes.metrics().get("rollout/ep_rew_mean")

    @property
    def score_level(self) -> int:
        """The curriculum's level the score belongs to; 0 where all scores compare."""
        if self.eval_config.every is not None:
            return self.evaluated.level
        return 0 if self.curriculum is None else self.curriculum.level

    # -- state -------------------------------------------------------------------------------------------------

    def run_parts(self) -> dict[str, Stateful]:
        """Parts that are equal on all ranks, beside what Lightning keeps."""
        return {
            "counters": self.counters,
            "clock": self.clock,
            "episodes": self.episodes,
            "curriculum": CurriculumPart(self.curriculum),
            "evaluation": self.evaluated,
            "best": self.best,
            "logs": self.log_book,
        }

    def rank_parts(self) -> dict[str, Stateful]:
        """Parts of this rank alone, in the order in which they have to be loaded."""
        return {"environments": EnvironmentsPart(self), "streams": GlobalStreams()}

    def rank_now(self) -> dict[str, Any]:
        """State of this rank at this moment, which lies between two iterations."""
        return {name: part.state_dict() for name, part in self.rank_parts().items()}

    def capture_rank(self) -> dict[str, Any]:
        """State of this rank, for its file in the checkpoint."""
        state = self.rank_now() if self.boundary is None else self.boundary
        return {name: to_plain(state[name], f"[{name!r}]") for name in RANK_PARTS}

    def resume_rank(self, state: dict[str, Any]) -> None:
        """Take this rank's state; it is put in place when training starts."""
        self._resumed_rank = state

    # -- for the algorithms -------------------------------------------------------------------------------------

    def finish_rollout(self, steps: int, episodes: list[tuple[int, Episode]], told: T) -> list[T]:
        """What all ranks have collected: counted, in the order (step, environment), and moments agreed on.

        Args:
            steps: of every environment in this rollout.
            episodes: those of this rank that ended in it, each with its step.
            told: what else this rank tells the others.

        Returns:
            what each rank has told, in rank order.
        """
        of_all = self.ranks.gather((episodes, self._own_moments(), told))
        ended = [each for episodes, _, _ in of_all for each in episodes]
        self.ended = [episode for _, episode in sorted(ended, key=lambda each: (each[0], each[1].env_index))]
        self.counters.timesteps += steps * self.env_config.n_envs
        self.counters.episodes += len(self.ended)
        self.episodes.extend(self.ended)
        if self._moments_apart:
            self._agree_on_moments([own for _, own, _ in of_all])
        return [told for _, _, told in of_all]

    @property
    def in_step(self) -> bool:
        """Whether all ranks do each step of the environments together, so that any number of them gives the same."""
        return False

    @property
    def _moments_apart(self) -> bool:
        """Whether each rank's moments go their own way during a rollout."""
        return not (self.ranks.alone or self.in_step)

    def _own_moments(self) -> Any:
        return self.normalizer.own if self._moments_apart else None

    def _agree_on_moments(self, of_all: list[Any]) -> None:
        """Fold in what every rank has seen; then the policy sees the current observations in another light."""
        self.normalizer.merge(of_all)
        self._policy_obs = self.normalizer.normalize_obs(self._obs)

    def backward_function(self) -> Callable[[Tensor], Any]:
        """How to backpropagate a loss.

        Not Lightning's `manual_backward`: it costs as much as a tenth of a small minibatch, and the buckets of
        DistributedDataParallel are laid out anew after its first backward pass, so that a resumed run would add in
        another order.
        """
        scaler = self.scaler
        return Tensor.backward if scaler is None else lambda loss: torch.autograd.backward(scaler.scale(loss))

    def full_precision(self) -> contextlib.AbstractContextManager[Any]:
        """Where the Trainer's mixed precision has no part: environments are acted in with whole numbers."""
        return torch.autocast(self.device.type, enabled=False)

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """Scales losses in half precision; its state lies in Lightning's part of a checkpoint."""
        return getattr(self._trainer.precision_plugin, "scaler", None) if self._trainer is not None else None

    @property
    def learning_rate_now(self) -> float:
        """The learning rate of this moment."""
        return self.learning_rate_at(self.counters.timesteps)

    def learning_rate_at(self, timesteps: int) -> float:
        """The learning rate at a timestep of the run."""
        return self.learning_rate(self.clock.progress_remaining(timesteps))

    @property
    def progress_remaining(self) -> float:
        """1 at the run's start, 0 at the end of its schedules."""
        return self.clock.progress_remaining(self.counters.timesteps)

    def _time_metrics(self) -> dict[str, float]:
        metrics: dict[str, float] = {
            "time/iterations": self.counters.iterations,
            "time/total_timesteps": self.counters.timesteps,
        }
        if self._segment_start is not None:
            start, timesteps, seconds = self._segment_start
            elapsed = max(time.monotonic() - start, sys.float_info.epsilon)
            self.log_book.seconds = seconds + elapsed
            metrics["time/fps"] = int((self.counters.timesteps - timesteps) / elapsed)
            metrics["time/time_elapsed"] = int(self.log_book.seconds)
        return metrics

    def settings(self) -> dict[str, Any]:
        """The hyperparameters as plain values."""
        settings: dict[str, Any] = to_plain_settings(dict(self.hparams))
        return settings


@contextlib.contextmanager
def _at(timesteps: int) -> Iterator[None]:
    """Environments that fail in here do so at this timestep of the run."""
    try:
        yield
    except EnvironmentFailed as error:
        error.timesteps = timesteps
        raise
