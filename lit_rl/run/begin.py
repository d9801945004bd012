"""How a run begins: a plan carried out, and what the Trainer needs to carry the run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers.logger import Logger

from lit_rl.callbacks.checkpointing import CheckpointConfig, Checkpointer
from lit_rl.callbacks.progress import Progress
from lit_rl.callbacks.rescue import Rescue
from lit_rl.callbacks.stopping import Stopper, StopRequest
from lit_rl.checkpoint.files import replace_durably
from lit_rl.checkpoint.reader import Opened, load_rank
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.errors import EXIT_OK, EXIT_STOPPED, ConfigError, StorageError
from lit_rl.ranks.group import Ranks
from lit_rl.ranks.launch import launch
from lit_rl.run.config import Mode, ResumeConfig, WarmstartConfig
from lit_rl.run.directory import CHECKPOINTS, CONFIG, RunLock, new_directory, tidy
from lit_rl.run.drift import table
from lit_rl.run.journals import EvaluationsNpz, MonitorCsv
from lit_rl.run.lineage import Lineage
from lit_rl.run.logs import MetricsCsv, RunTensorBoard
from lit_rl.run.plan import Plan, make_plan
from lit_rl.run.requeue import claim_name
from lit_rl.run.slurm import ask_for_requeue
from lit_rl.run.weights import owned_by
from lit_rl.state.deal import deal
from lit_rl.state.parts import capture, restore
from lit_rl.training.module import RLModule

DEFAULT_ROOT = Path("lightning_logs")


class Run:
    """A run that is about to train: its directory, and what the Trainer needs to carry it.

    Give `callbacks`, `loggers` and `ckpt_path` to a `Trainer`, then train:

        run = begin(module, mode="resume", name="cartpole")
        trainer = Trainer(callbacks=run.callbacks, logger=run.loggers, max_epochs=-1)
        with run:
            trainer.fit(module, ckpt_path=run.ckpt_path, weights_only=True)

    A `Trainer` with several processes has to be there first: `begin(module, trainer=trainer)` starts them, and gives it
    the callbacks and loggers itself.
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
        request: StopRequest,
        stack: contextlib.ExitStack,
    ) -> None:
        self.module, self.plan, self._resume, self.ranks = module, plan, resume, module.ranks
        self.request = request
        self.restarted: list[int] = []
        """Environments whose episode in flight could not be brought back, on all ranks."""
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
        self.directory, self.lineage = self.ranks.first(lambda: self._write(name, root, config_text, stack))
        store = CheckpointStore(self.directory / CHECKPOINTS, checkpoint.keep_last, checkpoint.keep_every)
        debris = store.tidy() if self.ranks.is_first else []
        if debris:
            plan.notes.append(f"removed what a killed save left behind: {', '.join(debris)}")
        self._stopper = Stopper(self.request, pause_at)
        opened = {} if self.ckpt_path is None or not plan.lightning else {self.ckpt_path: plan.lightning}
        plan.lightning = {}
        segment = len(self.lineage.segments)
        self._checkpointer = Checkpointer(store, checkpoint, self.lineage.run_id, segment, opened)
        if plan.checkpoint is not None:
            self._checkpointer.saved_at = plan.timesteps
        self._rescue = Rescue(self._checkpointer)
        self.callbacks: list[Callback] = [
            _Opening(self),
            self._rescue,
            self._stopper,
            self._checkpointer,
            Progress(),
        ]
        self.module.loop.journals = [
            MonitorCsv(self.directory, self.module.env_config.name),
            EvaluationsNpz(self.directory),
        ]
        self.loggers: list[Logger] = [MetricsCsv(self.directory), RunTensorBoard(self.directory)]

    def _write(
        self, name: str, root: Path, config_text: str | None, stack: contextlib.ExitStack
    ) -> tuple[Path, Lineage]:
        """Make or take the run directory, and write down that a segment begins; rank 0 alone does so."""
        plan = self.plan
        if plan.requeued is not None:
            stack.callback(claim_name(root, name, plan.requeued.newest).release)
        directory = plan.directory if plan.directory is not None else new_directory(root, name)
        stack.callback(RunLock(directory).release)
        if plan.mode == "resume":
            lineage = Lineage.read(directory)
        else:
            lineage = Lineage.new(name, plan.mode, plan.parents)
        lineage.begin_segment(
            plan.mode,
            plan.timesteps,
            plan.target,
            plan.checkpoint.path.name if plan.checkpoint else None,
            [str(change) for change in plan.changed],
            None if plan.requeued is None else plan.requeued.order,
        )
        lineage.write(directory)
        if config_text is not None:
            replace_durably(directory / CONFIG, config_text.encode())
        return directory, lineage

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
        return self._stopper.cause or ("stop_on_reward" if self.module.loop.stop_on_reward_reached else "finished")

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None:
            cause = self._cause
        else:
            self.ranks.fail(error)
            cause = f"error: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            self.module.teardown("fit")
        try:
            if self.ranks.is_first:
                self.lineage.end_segment(self.module.counters.timesteps, cause)
                self.lineage.write(self.directory)
        except StorageError:
            if error is None:
                raise  # else the first error is the one to show
        finally:
            self._until_exit.close()
        if error is None:
            if self.ranks.is_first and self.plan.requeued is not None and self._stopper.by_signal:
                ask_for_requeue()
            self.ranks.barrier()  # nobody leaves before all has been written
            self.ranks.close()
        else:
            self.ranks.explain(error)

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
        if module.score.evaluated.reward is not None:
            line += f", {module.score.evaluated.reward:.4g} in the evaluation at {module.score.evaluated.timesteps:,}"
        return f"{line}\nresults: {self.directory}"

    def banner(self) -> str:
        """What happened at the start, in a few lines."""
        plan, module = self.plan, self.module
        assert module.play.envs is not None
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
        lines.append(f"learning rate: {module.learning_rate_at(module.counters.timesteps):.4g}{self._schedule_note()}")
        lines.append(f"environments: {module.env_config.n_envs} x {module.env_config.name}, {self._environments()}")
        if not self.ranks.alone:
            share = module.env_config.n_envs // self.ranks.size
            lines.append(f"ranks: {self.ranks.size}, with {share} environment{'s' if share > 1 else ''} each")
        if plan.checkpoint is not None and plan.checkpoint.manifest.world_size != self.ranks.size:
            equal = (
                "to the bit"
                if module.play.lockstep
                else "to float tolerance (model.deterministic_reduction: to the bit)"
            )
            lines.append(
                f"ranks before: {plan.checkpoint.manifest.world_size}; environments are dealt out anew, and from here "
                f"on the run equals one that went on with that number {equal}"
            )
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
            owned = {each.part for each in owned_by(module).values()}
            parts += [p for p in ("obs_moments", "reward_moments") if p in owned]
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
        assert module.play.envs is not None
        kind = type(module.play.envs).__name__.removesuffix("VectorEnv").lower()
        if module.play.envs.grade == "boundary":
            hint = "" if kind == "native" else "; env.fresh_instance: true may make it exact"
            text = f"{kind}, resume grade boundary (an environment carries state across resets{hint})"
        else:
            text = f"{kind}, resume grade exact"
        if self.restarted:
            text += (
                f"; {len(self.restarted)} of {module.env_config.n_envs} episodes in flight could not be brought back "
                "and were restarted"
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
        run.module.resume_rank(self._rank_state(plan.checkpoint))
        plan.checkpoint.held.clear()  # the other ranks have read theirs themselves
        if plan.moved:
            run.module.clock.move_target(plan.schedule, plan.timesteps, plan.target)
        marks = run.module.log_book.marks
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv | RunTensorBoard) and type(logger).__name__ in marks:
                logger.cut_to(marks[type(logger).__name__])
        for journal in run.module.loop.journals:
            if type(journal).__name__ in marks:
                journal.cut_to(marks[type(journal).__name__])

    def _rank_state(self, checkpoint: Opened) -> dict[str, Any]:
        """This rank's part of a checkpoint, whatever number of ranks wrote it."""
        ranks, written = self._run.ranks, checkpoint.manifest.world_size
        if written == ranks.size:
            return load_rank(checkpoint, ranks.rank)
        states = [load_rank(checkpoint, rank) for rank in range(written)]
        return deal(states, ranks.rank, ranks.rows(self._run.module.env_config.n_envs))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._run.module.on_ready = self._announce

    def _announce(self) -> None:
        run, module = self._run, self._run.module
        assert module.play.envs is not None
        own = [module.play.envs.offset + row for row in module.play.restarted]
        run.restarted = [index for of_rank in run.ranks.gather(own) for index in of_rank]
        if run.restarted and run._resume.require == "exact":
            error = ConfigError(
                f"resume.require is exact, but environments {run.restarted} could not be brought back to "
                "the step they were in; use resume.require: boundary to restart their episodes."
            )
            error.told = not run.ranks.is_first
            raise error
        run._rescue.take(module.trainer, module)
        if run.ranks.is_first:
            print(run.banner(), flush=True)


def begin(
    module: RLModule,
    *,
    trainer: Trainer | None = None,
    mode: Mode = "fresh",
    name: str = "run",
    root: str | Path = DEFAULT_ROOT,
    resume: ResumeConfig | None = None,
    warmstart: WarmstartConfig | None = None,
    checkpoint: CheckpointConfig | None = None,
    config_text: str | None = None,
    pause_at: int | None = None,
    requeue: bool = False,
) -> Run | None:
    """Begin a run, or go on with one.

    Args:
        module: a new module; its environments and networks are built here.
        trainer: needed where it has several processes: they are started here, and all begin the same run. It is given
            the run's callbacks and loggers.
        mode: `fresh`, `resume` or `warmstart`.
        name: the run's name; runs lie in ``<root>/<name>/version_N``.
        root: where runs lie.
        resume: how to go on; used by mode `resume`.
        warmstart: what to take over; used by mode `warmstart`.
        checkpoint: when to save.
        config_text: the resolved configuration, kept in the run directory.
        pause_at: end this segment at the first iteration boundary at or past this timestep.
        requeue: go on with the newest run of this name if it has begun; `mode` says how it begins if it has not. Under
            SLURM, a run that is stopped by a signal asks to be started again once its state is saved.

    Returns:
        the run, or `None` if it is at its target already and there is nothing to do.

    Raises:
        ConfigError: the mode cannot be carried out; nothing has been written.
    """
    resume, root = resume or ResumeConfig(), Path(root)
    request, several = StopRequest(), trainer is not None and trainer.world_size > 1
    with contextlib.ExitStack() as stack:
        # From the first thing written on, a signal waits for the end of an iteration; where others would wait for this
        # process in vain, from the start.
        if several:
            stack.enter_context(request.listening())
        ranks = module.ranks = Ranks() if trainer is None else launch(trainer)
        try:
            made: list[Plan] = []

            def make() -> Plan:
                made.append(make_plan(module, mode, name, root, resume, warmstart or WarmstartConfig(), requeue))
                return made[0]

            plan = ranks.first(make)
            plan = made[0] if made else plan  # rank 0 keeps what it has read
            if plan.nothing_to_do:
                if ranks.is_first:
                    assert plan.directory is not None
                    tidy(plan.directory)
                    print(f"run: {plan.directory}\n{plan.why_nothing()}")
                ranks.close()
                return None
            _same_everywhere(module)
            checkpoint = checkpoint or CheckpointConfig()
            checkpoint.check(module)
            if not several:
                stack.enter_context(request.listening())
            run = Run(module, plan, name, root, checkpoint, resume, config_text, pause_at, request, stack)
        except BaseException as error:
            ranks.fail(error)
            module.teardown("fit")
            raise
    if trainer is not None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks[:0] = run.callbacks
        trainer.loggers = [*run.loggers, *trainer.loggers]
    return run


def _same_everywhere(module: RLModule) -> None:
    """The other ranks build what rank 0 has built, and take its weights, its moments and its level."""
    ranks = module.ranks
    if ranks.alone:
        return

    def build() -> None:
        module.build_envs()
        module.build_networks()

    ranks.together(build)
    state = {"tensors": module.state_dict(), "run": capture(module.run_parts())} if ranks.is_first else {}
    state = ranks.broadcast(state)
    module.load_state_dict(state["tensors"])
    restore(module.run_parts(), state["run"])
