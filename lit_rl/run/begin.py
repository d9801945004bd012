"""How a run begins: a plan carried out, and what the Trainer needs to carry the run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers.logger import Logger

from lit_rl.callbacks.alert import alert
from lit_rl.callbacks.checkpointing import Checkpointer
from lit_rl.callbacks.config import CheckpointConfig, View, check_view
from lit_rl.callbacks.early_stopping import EarlyStops, check_monitors
from lit_rl.callbacks.progress import Progress
from lit_rl.callbacks.rescue import Rescue
from lit_rl.callbacks.stopping import Stopper, StopRequest
from lit_rl.checkpoint.files import lacking, replace_durably
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.errors import EXIT_OK, EXIT_STOPPED, ConfigError, StorageError
from lit_rl.ops.limits import at_least, check_value
from lit_rl.process import guarded
from lit_rl.ranks.config import RanksConfig
from lit_rl.ranks.launch import launch
from lit_rl.ranks.launchers import rank_of, size_of
from lit_rl.run.agree import agree, prove_common, same_everywhere
from lit_rl.run.aside import Aside, settle, tidy
from lit_rl.run.config import Mode, ResumeConfig, WarmstartConfig
from lit_rl.run.directory import CHECKPOINTS, CONFIG, check_name, gone_on_error, has_checkpoint, new_directory
from lit_rl.run.fork import fork_into
from lit_rl.run.hold import Hold
from lit_rl.run.holdable import check_holdable
from lit_rl.run.journals import EvaluationsNpz, MonitorCsv
from lit_rl.run.lineage import Lineage
from lit_rl.run.loggers import keep_ids
from lit_rl.run.logs import MetricsCsv, RunTensorBoard
from lit_rl.run.opening import Opening
from lit_rl.run.plan import make_plan
from lit_rl.run.planned import Plan
from lit_rl.run.report import summary
from lit_rl.run.requeue import claim_name
from lit_rl.run.slurm import ask_for_requeue
from lit_rl.run.wanted import DEFAULT_ROOT
from lit_rl.run.weights import check_load
from lit_rl.training.evaluation import EvaluationGivenUp
from lit_rl.training.fast import check_precision
from lit_rl.training.module import RLModule


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
        view: View,
        request: StopRequest,
        hold: Hold,
        stack: contextlib.ExitStack,
    ) -> None:
        self.module, self.plan, self._resume, self.ranks = module, plan, resume, module.ranks
        self.request = request
        self._prepare(name, root, checkpoint, config_text, pause_at, view, hold, stack)
        self._until_exit = stack.pop_all()

    def _prepare(
        self,
        name: str,
        root: Path,
        checkpoint: CheckpointConfig,
        config_text: str | None,
        pause_at: int | None,
        view: View,
        hold: Hold,
        stack: contextlib.ExitStack,
    ) -> None:
        plan = self.plan
        self.directory, self.lineage = self.ranks.first(lambda: self._write(name, root, config_text, hold, stack))
        self.ranks.resumable_if(lambda: has_checkpoint(self.directory))
        store = CheckpointStore(self.directory / CHECKPOINTS, checkpoint.keep_last, checkpoint.keep_every)
        debris = store.tidy(plan.checkpoint) if self.ranks.is_first else []
        if debris:
            plan.notes.append(f"removed what a killed save left behind: {', '.join(debris)}")
        self._stopper = Stopper(self.request, pause_at)
        segment, parent = self.lineage.segments[-1].number, self.lineage.segments[-1].checkpoint
        self._checkpointer = Checkpointer(store, checkpoint, self.lineage.run_id, segment, plan.checkpoint, parent)
        self._checkpointer.on_committed = self._aside.drop if self.ranks.is_first else None
        if plan.checkpoint is not None:
            self._checkpointer.captured_at = plan.timesteps
        self._rescue = Rescue(self._checkpointer)
        self._checkpointer.on_boundary = [self._stopper.look, self._rescue.take]
        progress = Progress(view, self.request.name)
        self.at_boundary: list[Callback] = [EarlyStops(plan.extended), self._stopper, self._checkpointer, progress]
        exact = self._resume.require == "exact"
        opening = Opening(self.module, plan, self.directory, self.lineage, exact, self._rescue, self.at_boundary)
        self.callbacks: list[Callback] = [opening, self._rescue, *self.at_boundary]
        curriculum = self.module.curriculum
        draws = curriculum is not None and curriculum.draws
        self.module.loop.journals = [
            MonitorCsv(self.directory, self.module.env_config.name, self.ranks.is_first, draws),
            EvaluationsNpz(self.directory, self.ranks.is_first),
        ]
        self.loggers: list[Logger] = [
            MetricsCsv(self.directory, self.ranks.is_first),
            RunTensorBoard(self.directory, self.ranks.is_first),
        ]

    def _write(
        self, name: str, root: Path, config_text: str | None, hold: Hold, stack: contextlib.ExitStack
    ) -> tuple[Path, Lineage]:
        """Make or take the run directory, and write down that a segment begins; rank 0 alone does so."""
        plan = self.plan
        if plan.requeued is not None:
            stack.callback(claim_name(root, name, plan.requeued.newest).release)
        in_place = plan.directory is not None and not plan.fork
        directory = plan.directory if plan.directory is not None and in_place else new_directory(root, name)
        if not in_place:
            stack.enter_context(gone_on_error(directory))
        hold.take(directory)
        if in_place:
            settle(directory)
            lineage = Lineage.read(directory)
        else:
            lineage = Lineage.new(name, plan.begins_as, plan.parents)
        self._aside = Aside(directory, lineage.next_segment)
        if in_place and not lineage.ended_at(plan.timesteps):
            self._aside.put()
        with fork_into(plan, directory) if plan.fork else contextlib.nullcontext():
            lineage.begin_segment(
                plan.mode,
                plan.timesteps,
                plan.target,
                plan.checkpoint.name if plan.checkpoint else None,
                [str(change) for change in plan.changed],
                None if plan.requeued is None else plan.requeued.order,
                schedule=plan.schedule if plan.moved else None,
                additional=plan.additional,
                counted_from=plan.counted_from,
            )
            lineage.write(directory)
            self._config_before = (
                (directory / CONFIG).read_bytes() if in_place and (directory / CONFIG).is_file() else None
            )
            if config_text is not None:
                replace_durably(directory / CONFIG, config_text.encode())
        return directory, lineage

    @property
    def ckpt_path(self) -> str | None:
        """For ``Trainer.fit(ckpt_path=...)``."""
        return None if self.plan.checkpoint is None else str(self.plan.checkpoint.lightning_file)

    @property
    def exit_code(self) -> int:
        """What a process that carried this run exits with: 0 when it is finished, 75 when it can be resumed."""
        return EXIT_OK if self.module.loop.finished else EXIT_STOPPED

    @property
    def _cause(self) -> str:
        """Why training ended, as the lineage says it."""
        loop = self.module.loop
        if not loop.finished:
            return self._stopper.cause or "the Trainer"
        if loop.stop_on_reward_reached:
            return "stop_on_reward"
        return "finished" if loop.ended_early is None else f"early_stopping ({loop.ended_early})"

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        lost = None if error is None else self.ranks.explain(error)
        error = lost or error
        if error is None:
            cause = self._cause
        else:
            self.ranks.fail(error)
            cause = f"error: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            cause = error.signal if isinstance(error, EvaluationGivenUp) else cause
            self.module.teardown("fit")
        try:
            self._checkpointer.wait()
            if self.ranks.is_first:
                self._write_end(cause, mistaken=isinstance(error, ConfigError))
        except StorageError:
            if error is None:
                raise  # else the first error is the one to show
        finally:
            self._until_exit.close()
        if self.ranks.is_first and self.plan.requeued is not None:
            ask_for_requeue(cause)
        if error is None:
            self.ranks.close()  # nobody leaves before all has been written
        if lost is not None:
            raise lost from None

    def _write_end(self, cause: str, mistaken: bool) -> None:
        """Close the segment. One that has saved nothing leaves the run as it was; one that was a mistake never was."""
        if not self._checkpointer.has_committed:
            self._aside.put_back()
            if mistaken and self._config_before is not None:
                self.lineage.segments.pop()
                self.lineage.write(self.directory)
                replace_durably(self.directory / CONFIG, self._config_before)
                return
        self.lineage.end_segment(self.module.counters.timesteps, cause)
        self.lineage.write(self.directory)

    def summary(self) -> str:
        """What happened at the end, in two lines."""
        return summary(self.module, self._cause, self.directory)


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
    waiting: RanksConfig | None = None,
    view: View = "bar",
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
            SLURM, a run that its scheduler stops asks to be started again once its state is saved.
        waiting: how long ranks wait for each other.
        view: what a terminal shows beside the run's bar: `levels`, which of them are played, and how well.

    Returns:
        the run, or `None` if it is at its target already and there is nothing to do.

    Raises:
        ConfigError: the mode cannot be carried out; nothing has been written.
        Held: another process works on the run that is to go on.
    """
    check_value(mode, Mode, "mode")
    check_name(name)
    check_value(pause_at, int | None, "pause_at", at_least(1))
    check_value(requeue, bool, "requeue")
    check_value(view, View, "view")
    check_precision(module, "32-true" if trainer is None else trainer.precision)
    resume, root = resume or ResumeConfig(), Path(root)
    request = StopRequest(speaks=trainer is None or rank_of(trainer) == 0)
    several = trainer is not None and size_of(trainer) > 1
    with contextlib.ExitStack() as stack:
        hold = Hold()
        stack.callback(hold.release)
        # From the first thing written on, a signal waits for the end of an iteration; where others would wait for this
        # process in vain, from the start.
        lacking.clear()
        stack.enter_context(guarded())
        if several:
            stack.enter_context(request.listening())
        ranks = module.ranks = launch(trainer, waiting, request.name)
        if several:
            stack.enter_context(alert(ranks.tell_of))
        checkpoint, start = checkpoint or CheckpointConfig(), warmstart or WarmstartConfig()
        asked = {
            "mode": mode, "name": name, "resume": resume, "warmstart": start, "checkpoint": checkpoint,
            "pause_at": pause_at, "requeue": requeue, "view": view,
            "trainer.default_root_dir": str(root), "ranks": waiting,
        }  # fmt: skip
        try:
            notes = agree(module, trainer, asked)
            made: list[Plan] = []

            def make() -> Plan:
                made.append(make_plan(module, mode, name, root, resume, start, hold, requeue, trainer))
                if not made[0].nothing_to_do:
                    check_load(module, start)  # also where the block is not read: a misspelled part is a mistake
                return made[0]

            plan = ranks.first(make)
            plan = made[0] if made else plan  # rank 0 keeps what it has read
            plan.notes += notes
            if plan.nothing_to_do and (plan.adopted is None or pause_at is None):
                module.teardown("fit")
                if ranks.is_first:
                    if plan.directory is not None:
                        tidy(plan.directory)
                    said = [f"run: {plan.directory}", *plan.notes] if plan.adopted is None else []
                    print("\n".join([*said, plan.why_nothing()]))
                ranks.close()
                return None
            module.play.resuming = plan.checkpoint is not None
            same_everywhere(module)
            checkpoint.check(module)
            check_view(view, module)
            if not several:
                stack.enter_context(request.listening())
            check_holdable(module, trainer)
            check_monitors(module, trainer)
            in_place = plan.directory is not None and not plan.fork
            prove_common(ranks, plan.directory if plan.directory is not None and in_place else root / name)
            run = Run(module, plan, name, root, checkpoint, resume, config_text, pause_at, view, request, hold, stack)
        except BaseException as error:
            ranks.fail(error)
            module.teardown("fit")
            raise
    if trainer is not None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks[:0] = run.callbacks
        keep_ids(trainer.loggers, run.directory, run.lineage.run_id)
        trainer.loggers = [*run.loggers, *trainer.loggers]
    return run
