"""How a run begins: a plan carried out, and what the Trainer needs to carry the run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers.logger import Logger

from lit_rl.algorithms.base import RLModule
from lit_rl.callbacks.checkpointing import CheckpointConfig, Checkpointer
from lit_rl.callbacks.progress import Progress
from lit_rl.callbacks.stopping import Stopper, StopRequest
from lit_rl.errors import EXIT_OK, EXIT_STOPPED, ConfigError, StorageError
from lit_rl.run.config import Mode, ResumeConfig, WarmstartConfig
from lit_rl.run.directory import CHECKPOINTS, CONFIG, RunLock, new_directory, tidy
from lit_rl.run.drift import table
from lit_rl.run.journals import EvaluationsNpz, MonitorCsv
from lit_rl.run.lineage import Lineage
from lit_rl.run.logs import MetricsCsv, RunTensorBoard
from lit_rl.run.plan import Plan, make_plan
from lit_rl.run.weights import part_of
from lit_rl.state.checkpoint import load_rank
from lit_rl.state.files import replace_durably
from lit_rl.state.store import CheckpointStore

DEFAULT_ROOT = Path("lightning_logs")


class Run:
    """A run that is about to train: its directory, and what the Trainer needs to carry it.

    Give `callbacks`, `loggers` and `ckpt_path` to a `Trainer`, then train:

        run = begin(module, mode="resume", name="cartpole")
        trainer = Trainer(callbacks=run.callbacks, logger=run.loggers, max_epochs=-1)
        with run:
            trainer.fit(module, ckpt_path=run.ckpt_path, weights_only=True)
    """

    def __init__(
        self,
        module: RLModule,
        plan: Plan,
        name: str,
        root: Path,
        checkpoint: CheckpointConfig,
        resume: ResumeConfig,
        config_text: str | None,
        pause_at: int | None,
    ) -> None:
        self.module, self.plan, self._resume = module, plan, resume
        self.request = StopRequest()
        with contextlib.ExitStack() as stack:
            # From the first thing written on, a signal waits for the end of an iteration.
            stack.enter_context(self.request.listening())
            self._prepare(name, root, checkpoint, config_text, pause_at, stack)
            self._until_exit = stack.pop_all()

    def _prepare(
        self,
        name: str,
        root: Path,
        checkpoint: CheckpointConfig,
        config_text: str | None,
        pause_at: int | None,
        stack: contextlib.ExitStack,
    ) -> None:
        plan = self.plan
        self.directory = plan.directory if plan.directory is not None else new_directory(root, name)
        stack.callback(RunLock(self.directory).release)
        if plan.mode == "resume":
            self.lineage = Lineage.read(self.directory)
        else:
            self.lineage = Lineage.new(name, plan.mode, plan.parents)
        segment = self.lineage.begin_segment(
            plan.mode,
            plan.timesteps,
            plan.target,
            plan.checkpoint.path.name if plan.checkpoint else None,
            [str(change) for change in plan.changed],
        )
        self.lineage.write(self.directory)
        if config_text is not None:
            replace_durably(self.directory / CONFIG, config_text.encode())
        store = CheckpointStore(self.directory / CHECKPOINTS, checkpoint.keep_last, checkpoint.keep_every)
        debris = store.tidy()
        if debris:
            plan.notes.append(f"removed what a killed save left behind: {', '.join(debris)}")
        self._stopper = Stopper(self.request, pause_at)
        self._checkpointer = Checkpointer(store, checkpoint, self.lineage.run_id, segment.number)
        if plan.checkpoint is not None:
            self._checkpointer.saved_at = plan.timesteps
        self.callbacks: list[Callback] = [_Opening(self), self._stopper, self._checkpointer, Progress()]
        self.module.journals = [
            MonitorCsv(self.directory, self.module.env_config.name),
            EvaluationsNpz(self.directory),
        ]
        self.loggers: list[Logger] = [MetricsCsv(self.directory), RunTensorBoard(self.directory)]

    @property
    def ckpt_path(self) -> str | None:
        """For ``Trainer.fit(ckpt_path=...)``."""
        return None if self.plan.checkpoint is None else str(self.plan.checkpoint.lightning_file)

    @property
    def exit_code(self) -> int:
        """What a process that carried this run leaves with: 0 when it is finished, 75 when it can be resumed."""
        return EXIT_OK if self._stopper.cause is None else EXIT_STOPPED

    @property
    def _cause(self) -> str:
        """Why training ended, as the lineage says it."""
        return self._stopper.cause or ("stop_on_reward" if self.module.stop_on_reward_reached else "finished")

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None:
            cause = self._cause
        else:
            cause = f"error: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            self.module.teardown("fit")
        self.lineage.end_segment(self.module.counters.timesteps, cause)
        try:
            self.lineage.write(self.directory)
        except StorageError:
            if error is None:
                raise  # else the first error is the one to show
        finally:
            self._until_exit.close()

    def summary(self) -> str:
        """What happened at the end, in two lines."""
        cause, module = self._stopper.cause, self.module
        what = "finished by stop_on_reward" if self._cause == "stop_on_reward" else "finished"
        if cause is not None:
            what = f"stopped by {cause}; go on with mode: resume"
        line = f"{what}: timestep {module.counters.timesteps:,} of {module.clock.target:,}"
        if module.curriculum is not None:
            line += f", level {module.curriculum.describe()}"
        if module.episodes.count:
            mean = module.episodes.metrics()["rollout/ep_rew_mean"]
            line += f", return {mean:.4g} over the last {module.episodes.count} episodes"
        if module.evaluated.reward is not None:
            line += f", {module.evaluated.reward:.4g} in the evaluation at {module.evaluated.timesteps:,}"
        return f"{line}\nresults: {self.directory}"

    def banner(self) -> str:
        """What happened at the start, in a few lines."""
        plan, module = self.plan, self.module
        assert module.envs is not None
        lines = [f"mode: {plan.mode}", f"run: {self.directory} ({self.lineage.run_id[:12]})"]
        if plan.checkpoint is not None:
            lines.append(f"checkpoint: {plan.checkpoint.path.name} (sha256 {plan.checkpoint.digest[:12]})")
        for parent in plan.parents:
            digest = parent.get("digest") or parent.get("sha256")
            digest = f" (sha256 {digest[:12]})" if digest else ""
            lines.append(f"parent: {parent['path']}{digest}")
        clock = module.clock
        lines.append(f"timestep: {module.counters.timesteps:,} of {clock.target:,}")
        if module.curriculum is not None:
            lines.append(f"level: {module.curriculum.describe()}")
        lines.append(f"learning rate: {module.learning_rate_now:.4g}{self._schedule_note()}")
        lines.append(f"environments: {module.env_config.n_envs} x {module.env_config.name}, {self._environments()}")
        if plan.mode == "resume":
            parts = [
                "policy",
                "value",
                "optimizer",
                "schedules",
                "counters",
                "random streams",
                "environments",
            ]
            if module.curriculum is not None:
                parts.append("curriculum")
            parts += [p for p in ("obs_moments", "reward_moments") if any(part_of(k) == p for k in module.state_dict())]
            lines.append(f"loaded: {', '.join(parts)}")
        else:
            lines.append("loaded: nothing, everything is new" if plan.mode == "fresh" else "loaded:")
        lines += [f"  {note}" for note in plan.notes]
        if plan.changed:
            lines.append("changed settings:\n" + table(plan.changed))
        return "\n".join(lines)

    def _schedule_note(self) -> str:
        if not self.plan.moved:
            return ""
        clock, how = self.module.clock, self.plan.schedule
        end = self.module.learning_rate_at(clock.target)
        note = f" (target moved, schedules {how}: {end:.4g} at {clock.target:,})"
        if end == 0.0 and how != "stretch":
            since = self.plan.timesteps if how == "hold" else max(clock.horizon, self.plan.timesteps)
            note += f"\nWARNING: the learning rate is 0 from timestep {since:,} on and nothing more will be learned; "
            note += "resume.schedule: stretch learns on"
        return note

    def _environments(self) -> str:
        module = self.module
        assert module.envs is not None
        kind = type(module.envs).__name__.removesuffix("VectorEnv").lower()
        if module.envs.grade == "boundary":
            hint = "" if kind == "native" else "; env.fresh_instance: true may make it exact"
            text = f"{kind}, resume grade boundary (an environment carries state across resets{hint})"
        else:
            text = f"{kind}, resume grade exact"
        lost = module.restarted_envs
        if lost:
            text += (
                f"; {len(lost)} of {module.envs.n_envs} episodes in flight could not be brought back and were restarted"
            )
        return text


class _Opening(Callback):
    """First of the callbacks: puts a resumed run's last pieces in place, and says what happened."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        run, plan = self._run, self._run.plan
        if plan.checkpoint is None:
            return
        run.module.resume_rank(load_rank(plan.checkpoint, trainer.global_rank))
        if plan.moved:
            run.module.clock.move_target(plan.schedule, plan.timesteps, plan.target)
        marks = run.module.log_book.marks
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv | RunTensorBoard) and type(logger).__name__ in marks:
                logger.cut_to(marks[type(logger).__name__])
        for journal in run.module.journals:
            if type(journal).__name__ in marks:
                journal.cut_to(marks[type(journal).__name__])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._run.module.on_ready = self._announce

    def _announce(self) -> None:
        run = self._run
        if run.module.restarted_envs and run._resume.require == "exact":
            raise ConfigError(
                f"resume.require is exact, but environments {run.module.restarted_envs} could not be brought back to "
                "the step they were in; use resume.require: boundary to restart their episodes."
            )
        if run.module.trainer.is_global_zero:
            print(run.banner(), flush=True)


def begin(
    module: RLModule,
    *,
    mode: Mode = "fresh",
    name: str = "run",
    root: str | Path = DEFAULT_ROOT,
    resume: ResumeConfig | None = None,
    warmstart: WarmstartConfig | None = None,
    checkpoint: CheckpointConfig | None = None,
    config_text: str | None = None,
    pause_at: int | None = None,
) -> Run | None:
    """Begin a run, or go on with one.

    Args:
        module: a new module; its environments and networks are built here.
        mode: `fresh`, `resume` or `warmstart`.
        name: the run's name; runs lie in ``<root>/<name>/version_N``.
        root: where runs lie.
        resume: how to go on; used by mode `resume`.
        warmstart: what to take over; used by mode `warmstart`.
        checkpoint: when to save.
        config_text: the resolved configuration, kept in the run directory.
        pause_at: end this segment at the first iteration boundary at or past this timestep.

    Returns:
        the run, or `None` if it is at its target already and there is nothing to do.

    Raises:
        ConfigError: the mode cannot be carried out; nothing has been written.
    """
    resume, root = resume or ResumeConfig(), Path(root)
    try:
        plan = make_plan(module, mode, name, root, resume, warmstart or WarmstartConfig())
        if plan.nothing_to_do:
            assert plan.directory is not None
            tidy(plan.directory)
            print(f"run: {plan.directory}\n{plan.why_nothing()}")
            return None
        checkpoint = checkpoint or CheckpointConfig()
        checkpoint.check(module)
        return Run(module, plan, name, root, checkpoint, resume, config_text, pause_at)
    except BaseException:
        module.teardown("fit")
        raise
