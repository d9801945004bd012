"""The life cycle of a run inside Lightning: what every algorithm shares, and none of its maths."""

from __future__ import annotations

import copy
import io
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer

from lit_rl.checkpoint.manifest import LIGHTNING_FILE
from lit_rl.checkpoint.reader import local_path, read_lightning
from lit_rl.checkpoint.store import checkpoint_in
from lit_rl.curriculum import CurriculumConfig, make_curriculum
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import ConfigError, DataError, LitRLWarning, disk_named
from lit_rl.ops.schedules import Clock
from lit_rl.ops.tree import leaves
from lit_rl.ranks.group import Ranks
from lit_rl.state.optimizers import carried, name_of
from lit_rl.state.parts import Stateful, capture, parts_of, restore, union
from lit_rl.state.plain import to_plain
from lit_rl.state.records import Counters, EpisodeWindow, LogBook
from lit_rl.state.streams import GlobalStreams, drawing_weights
from lit_rl.training.computed import computed_with
from lit_rl.training.config import EvalConfig
from lit_rl.training.contract import Algorithm
from lit_rl.training.descent import Descent
from lit_rl.training.evaluation import Evaluation, evaluate_now
from lit_rl.training.fast import BY_AUTOGRAD
from lit_rl.training.forgotten import Watch
from lit_rl.training.iteration import Iteration
from lit_rl.training.loop import Loop
from lit_rl.training.metrics import show
from lit_rl.training.play import Play
from lit_rl.training.score import Score
from lit_rl.training.settings import (
    check_settings,
    foreign_environment,
    given_masks,
    given_settings,
    refuse_foreign_classes,
    to_plain_settings,
    with_masks,
)
from lit_rl.training.spaces import spaces_in, stored_spaces
from lit_rl.training.trainer import check_trainer

STATE_FORMAT = 1


def states_of_callbacks(trainer: Trainer) -> dict[str, Any]:
    """Copies of the states of the Trainer's callbacks, by their keys.

    That of a `Timer` is left out: a limit of time, such as `trainer.max_time`, is one of each segment.
    """
    states = {each.state_key: each.state_dict() for each in trainer.callbacks if not isinstance(each, Timer)}  # type: ignore[attr-defined]
    return {key: copy.deepcopy(state) for key, state in states.items() if state}


class RLModule(Algorithm):
    """A policy with its rollout, its update and everything that belongs to the run.

    One `training_step` is one iteration: some cycles of `collect` and `update`. The batch that Lightning hands over is
    a bare number and means nothing.

    Args:
        env: the environments, as an `EnvConfig`, the same as nested dictionaries, or an id alone.
        total_timesteps: the run ends at the first end of a cycle at or past this timestep.
        seed: every random stream of the run derives from it.
        gamma: discount factor; also that of the reward scaling, unless `env.normalize.gamma` names another.
        curriculum: the levels of the run, as a `CurriculumConfig` or the same as nested dictionaries.
        evaluation: when and how the policy is evaluated beside training, as an `EvalConfig` or a dictionary.
        max_bad_updates: gradient steps whose loss or gradient is not finite are skipped; after so many in a row the run
            stops.
        cycles_per_iteration: cycles in one iteration.
        lockstep: all ranks do each step of the environments together, for the same moments with any number of them.
    """

    def __init__(
        self,
        env: EnvConfig | dict[str, Any] | str,
        total_timesteps: int,
        seed: int,
        gamma: float,
        curriculum: CurriculumConfig | dict[str, Any] | None = None,
        evaluation: EvalConfig | dict[str, Any] | None = None,
        max_bad_updates: int = 10,
        cycles_per_iteration: int = 1,
        lockstep: bool = False,
    ) -> None:
        super().__init__()
        own: dict[str, Any] = {
            "total_timesteps": total_timesteps,
            "seed": seed,
            "gamma": gamma,
            "max_bad_updates": max_bad_updates,
        }
        own |= {"env": env, "curriculum": curriculum, "evaluation": evaluation}
        own |= {"cycles_per_iteration": cycles_per_iteration}
        check_settings(type(self), own | given_settings(self), union(type(self), "LIMITS"))
        self.save_hyperparameters(ignore=["lockstep"], logger=False)
        self.automatic_optimization = False
        # Where a subclass does not say what its arguments are, the parser hands over groups of keys, not records.
        if isinstance(env, str):
            env = self.hparams["env"] = EnvConfig(id=env)
        self.env_config = env if isinstance(env, EnvConfig) else EnvConfig.from_plain(to_plain_settings(env))
        self.env_config = with_masks(self.env_config, type(self))
        self.seed, self.gamma = seed, gamma
        self.curriculum = make_curriculum(to_plain_settings(curriculum), self.env_config.n_envs, seed)
        """What is played next; `None` for a run without levels."""
        self.eval_config = EvalConfig.from_plain(to_plain_settings(evaluation) or {})
        self.eval_config.check_levels(self.levels)
        self.check_curriculum()
        self.counters, self.episodes, self.log_book = Counters(), EpisodeWindow(), LogBook()
        self.clock = Clock(target=total_timesteps, horizon=total_timesteps)
        self.streams = GlobalStreams()
        self.score = Score(self.eval_config, self.curriculum, self.episodes, self.counters)
        self.play = Play(self.env_config, seed, self.levels, self.counters, lockstep)
        self.descent = Descent(self.counters, max_bad_updates, lambda: self.scaler, lambda: self.ranks)
        self.loop = Loop(self, cycles_per_iteration)
        self.on_ready: Callable[[], None] | None = None
        """Called once everything is in place and before the first iteration."""
        self.asked_to_stop = lambda: None
        self.predict_rng: np.random.Generator | None = None
        """Where `predict` draws from, made at its first call; no stream of the run."""
        self.evaluation_episodes = 20
        self.evaluation: Evaluation | None = None
        """Result of the last `test` or `validate`."""
        self.boundary: dict[str, Any] | None = None
        """This rank's state at the last iteration boundary, once an error has left the environments in the middle."""
        self.boundary_callbacks: dict[str, Any] | None = None
        """The callbacks' states then."""
        self._loaded: dict[str, Any] = {}
        self._resumed_rank: dict[str, Any] | None = None
        self._watch = Watch(self)

    @property
    def ranks(self) -> Ranks:
        """The processes that train this run; `begin` sets it before anything is built."""
        return self.play.ranks

    @ranks.setter
    def ranks(self, ranks: Ranks) -> None:
        self.play.ranks = ranks

    @property
    def iteration(self) -> Iteration:
        """The last one, or the one going on."""
        return self.loop.iteration

    @property
    def metrics(self) -> dict[str, float]:
        """Those of the last iteration, by SB3's names."""
        return self.loop.iteration.metrics

    # -- building ------------------------------------------------------------------------------------------------

    def build_envs(self) -> None:
        """Make this rank's environments, once."""
        if self.play.envs is None:
            self.ranks.rows(self.env_config.n_envs)
            self.check_ranks()
            own = self.play.build().own_streams
            self.env_config = replace(self.env_config, global_streams="own" if own else "shared")

    def build_networks(self) -> None:
        """Make policy and normaliser for the spaces at hand, once."""
        if hasattr(self, "policy"):
            return
        with drawing_weights(self.stream("weights")):
            self.normalizer = self.play.build_normalizer(self.gamma)
            self.policy = self.build_policy(self.normalizer.policy_space(self.observation_space), self.action_space)

    # -- Lightning's hooks, in the order they run ----------------------------------------------------------------

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Any:
        """A module with the weights and moments of a checkpoint: a directory, its `lightning.ckpt`, or a bare `.ckpt`.

        A run directory means its newest good checkpoint. Other arguments are Lightning's; keyword arguments replace
        settings of the checkpoint. Nothing is imported because the checkpoint says so: a policy class of your own has
        to be passed, and an environment of your own before it can be played.
        """
        path = local_path(checkpoint_path)
        if path.is_dir():
            path, passed_over = checkpoint_in(path)
            for complaint in passed_over:
                warnings.warn(complaint, LitRLWarning, stacklevel=2)
            path = path / LIGHTNING_FILE
        state, data = read_lightning(path)
        stored = state.get("hyper_parameters", {})
        refuse_foreign_classes(stored, kwargs)
        foreign = None if "env" in kwargs else foreign_environment(stored)
        kwargs["weights_only"] = True
        try:
            module = super().load_from_checkpoint(io.BytesIO(data), *args, **kwargs)
        except RuntimeError as error:
            if "loading state_dict" not in str(error):
                raise
            first = str(error).splitlines()[1].strip()[:200]
            raise ConfigError(f"{path}: its weights do not fit the networks that the settings make: {first}") from None
        module.play.foreign = foreign
        return module

    def setup(self, stage: str) -> None:
        if stage == "fit":
            check_trainer(self.trainer)
            self.trainer.log_every_n_steps = 1  # type: ignore[attr-defined]  # a step of theirs is an iteration
            if self.trainer.world_size != self.ranks.size:
                raise ConfigError(
                    f"the Trainer has {self.trainer.world_size} processes, and the run began in one; give the Trainer "
                    "to begin(module, trainer=trainer, ...)."
                )
            self.build_envs()

    def configure_model(self) -> None:
        if self.play.spaces is not None:
            self.build_networks()
            # Moments lie on the CPU, agree by themselves, and are none of DistributedDataParallel's business.
            self._ddp_params_and_buffers_to_ignore = [
                name for name, _ in self.named_buffers() if name.startswith("normalizer.")
            ]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._watch.look()
        if "callbacks" in checkpoint:  # not where weights alone are saved
            now = self.boundary_callbacks
            checkpoint["callbacks"] = states_of_callbacks(self.trainer) if now is None else now
        checkpoint["lit_rl"] = {
            "format": STATE_FORMAT,
            "algorithm": type(self).__name__,
            **stored_spaces((self.observation_space, self.action_space), self.play.own_spaces),
            "run": capture(self.run_parts()),
            "computed": computed_with(self),
            "optimizers": [name_of(each) for each in self.trainer.optimizers] if self._trainer is not None else [],
        }
        checkpoint["hyper_parameters"] = self.settings()
        checkpoint["hparams_name"] = "kwargs"

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        ours = checkpoint.get("lit_rl")
        if ours is None:
            raise DataError("this checkpoint was not written by lit_rl: it has no 'lit_rl' part.")
        if ours["algorithm"] != type(self).__name__:
            raise ConfigError(
                f"the checkpoint was written by {ours['algorithm']}, but model.class_path is {type(self).__name__}."
            )
        if self.play.spaces is None:
            self.play.spaces, self.play.own_spaces = spaces_in(ours)
        self.build_networks()
        restore(self.run_parts(), ours["run"])
        self.gradients_before = (ours.get("computed") or {}).get("gradients", BY_AUTOGRAD)
        self._loaded = checkpoint

    def carry_optimizers(self) -> list[str]:
        """Let optimizers of another class or with other arguments go on, as far as that goes; returns what to say.

        Called when they have been made and before the Trainer gives them the states of the checkpoint.
        """
        states, said = self._loaded.get("optimizer_states", []), []
        classes = self._loaded["lit_rl"].get("optimizers") or [None] * len(states)
        for i, optimizer in enumerate(self.trainer.optimizers[: len(states)]):
            states[i], note = carried(states[i], classes[i], optimizer)
            said += [] if note is None else [note]
        return said

    def train_dataloader(self) -> range:
        return range(sys.maxsize)

    def on_train_start(self) -> None:
        """Begin or bring back the environments; global random streams come last, nothing may draw after them."""
        for each in self._trainer.lr_scheduler_configs if self._trainer is not None else ():
            each.interval = "step"  # for callbacks that ask; they are followed in optimizers_now
        self.build_envs()
        self._watch.check_names()
        if self.curriculum is not None:
            self.play.assign(self.curriculum.assignment(self.counters.timesteps))
        if self._resumed_rank is None:
            self.play.begin()
        else:
            restore(self.rank_parts(), self._resumed_rank)
            self.forget_episodes(self.play.restarted_everywhere())
            self._resumed_rank, self._loaded = None, {}
        self.loop.begin_segment()
        show(self._trainer, self.log_book.latest)
        self._watch.begin()
        if self.on_ready is not None:
            self.on_ready()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One iteration, and what is said of it."""
        iteration = self.loop.iterate()
        if self._trainer is not None:  # callbacks of Lightning's log by its count of batches, which follows ours
            self._trainer.fit_loop.epoch_loop._batches_that_stepped = iteration.timesteps - 1
        self.log_book.note(iteration.metrics)
        show(self._trainer, iteration.metrics)
        for logger in self.loggers:
            with disk_named(logger.save_dir):  # type: ignore[attr-defined]
                logger.log_metrics(iteration.metrics, step=iteration.timesteps)
        for journal in self.loop.journals:
            journal.write(iteration)
        self._watch.first_look()
        if self.loop.finished:
            self.trainer.should_stop = True

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Play `evaluation_episodes` episodes as `eval_config` says; the result is left in `evaluation`."""
        envs = self.play.build_for_evaluation(self.eval_config.max_episode_steps)
        asked = (self.eval_config, self.evaluation_episodes, self.curriculum, self.counters.timesteps)
        self.evaluation = evaluate_now(self, envs, *asked)
        self.log_dict({f"test/{key}": value for key, value in self.evaluation.metrics().items()}, batch_size=1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """The same as `test_step`."""
        self.test_step(batch, batch_idx)

    def teardown(self, stage: str) -> None:
        self.play.close()

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Schedules follow timesteps, not Lightning's steps."""

    # -- acting --------------------------------------------------------------------------------------------------

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[np.ndarray, Any]:
        """Actions for raw observations, with the meaning of stable-baselines3's `predict`.

        Observations are normalised here, with the moments of now, which stay as they are. Nothing that training draws
        is drawn: what is random comes from `predict_rng`.

        Args:
            observation: one as the environment shows it, or a batch [N, ...]; a dictionary of such for a Dict. Frames
                come stacked, images with channels first or last.
            state: what the call before has returned; `None` at first. Policies without a memory pass it through.
            episode_start: bool, or [N]: whether an episode begins with the observation: nothing is remembered then.
            deterministic: the most likely actions; otherwise drawn from the policy, with DQN's share of random ones.
            action_masks: [M] or [N, M], what the environment's `action_masks()` says; `None` allows all.

        Returns:
            actions as the environment takes them, within its bounds: one, or [N, ...] for a batch; and the new state.

        Raises:
            ConfigError: the observation is not of the environment's space, or there is no policy yet.
        """
        raw, rng, training = self.play.raw_spaces(), None, self.training
        seen, is_batch = raw.observed(observation)
        if not deterministic:
            rng = self.predict_rng = self.predict_rng or np.random.default_rng()
        masks = given_masks(self, action_masks, len(leaves(seen)[0]))
        begun = None if episode_start is None else np.asarray(episode_start, dtype=np.bool_).reshape(-1)
        self.train(False)
        policy_obs = self.normalizer.normalize_obs(seen)
        actions, state = self.policy_step(policy_obs, rng, state, begun, masks, exploring=False)
        self.train(training)
        taken = raw.own_actions(actions)
        return (taken if is_batch else taken[0]), state

    # -- state ---------------------------------------------------------------------------------------------------

    def run_parts(self) -> dict[str, Stateful | None]:
        """Parts that are equal on all ranks, beside what Lightning keeps."""
        return parts_of(self, "run")

    def rank_parts(self) -> dict[str, Stateful | None]:
        """Parts of this rank alone, in the order in which they have to be loaded."""
        return parts_of(self, "rank")

    def capture_rank(self) -> dict[str, Any]:
        """State of this rank, for its file in the checkpoint."""
        if self.boundary is None:
            return capture(self.rank_parts())
        return {name: to_plain(part, f"[{name!r}]") for name, part in self.boundary.items()}

    def resume_rank(self, state: dict[str, Any]) -> None:
        """Take this rank's state; it is put in place when training starts."""
        self._resumed_rank = state

    def settings(self) -> dict[str, Any]:
        """The hyperparameters as plain values."""
        settings: dict[str, Any] = to_plain_settings(dict(self.hparams))
        return settings

    def learning_rate_at(self, timesteps: int) -> float:
        """The learning rate at a timestep of the run."""
        return self.learning_rate(self.clock.progress_remaining(timesteps))
