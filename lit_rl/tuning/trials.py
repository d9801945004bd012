"""The trials of a study, one after the other: each is a `fit` in a process of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import Trial, TrialState

from lit_rl.checkpoint.manifest import CHECKPOINTS
from lit_rl.errors import EXIT_CONFIG, EXIT_INTERRUPTED, EXIT_IO, EXIT_OK, EXIT_STOPPED
from lit_rl.process import HandedOn
from lit_rl.run.directory import is_held, versions_of
from lit_rl.tuning.space import brief
from lit_rl.tuning.study import StudyFile
from lit_rl.tuning.sweep import Sweep
from lit_rl.tuning.values import chosen, read_values

_FAILS = (1, EXIT_CONFIG)
"""Exit codes that are the settings' doing: they diverged, or do not go together."""
_NOT_ITS_DOING = (EXIT_OK, EXIT_STOPPED, EXIT_INTERRUPTED, EXIT_IO)
"""Exit codes that say nothing against a trial: it was stopped, or the disk was full."""
_TRIES = 3
"""So often a trial is begun or gone on with from one checkpoint; one that is killed every time has failed."""
_KILLED = 137


@dataclass(frozen=True)
class Place:
    """Where a study lies, and how a trial is started from there.

    Args:
        directory: of the study.
        options: gives the options of `fit` for settings by key.
        say: prints a line.
    """

    directory: Path
    options: Callable[[dict[str, Any]], list[str]]
    say: Callable[[str], None]


def run_names(sweep: Sweep, number: int) -> list[str]:
    """What the runs of a trial are called, one for each seed."""
    name = f"trial_{number:03}"
    return [name] if sweep.seeds is None else [f"{name}_seed_{seed}" for seed in sweep.seeds]


def run_trials(study: StudyFile, sweep: Sweep, place: Place) -> int:
    """Go on with the trial in flight, if there is one, and with new ones until there are enough.

    Returns:
        0 once the study has all its trials, 75 where a signal stopped it, else what ended a trial that is no fault of
        its settings (a full disk, a kill): that one stays in flight, until it has been killed too often.
    """
    with HandedOn() as signals:
        while not signals.came:
            trial = study.in_flight()
            if trial is None:
                if len(study.trials()) >= sweep.wanted:
                    return EXIT_OK
                trial = study.next_trial()
            code = _Running(study, sweep, place, signals, trial).run()
            if code != EXIT_OK:
                return code
    return EXIT_STOPPED


class _Running:
    """One trial."""

    def __init__(self, study: StudyFile, sweep: Sweep, place: Place, signals: HandedOn, trial: Trial) -> None:
        self._study, self._sweep, self._place, self._signals, self._trial = study, sweep, place, signals, trial
        self._names = run_names(sweep, trial.number)
        self._prunes = sweep.pruner != "none"
        self._is_pruned = False
        self._reported = dict(study.trials()[trial.number].intermediate_values)

    def run(self) -> int:
        """Train it, and tell the study what it has come to."""
        settings = self._study.values_of(self._trial.params)
        if "runs" not in self._trial.user_attrs:
            self._trial.set_user_attr("runs", self._names)
        shown = ", ".join(f"{key} {brief(value)}" for key, value in settings.items())
        self._place.say(f"trial {self._trial.number} ({self._trial.number + 1} of {self._sweep.wanted}): {shown}")
        for i, name in enumerate(self._names):
            if not self._has_to_end():  # as it was found before it was stopped
                seed = [] if self._sweep.seeds is None else ["--seed_everything", str(self._sweep.seeds[i])]
                code = self._fit(name, [*self._place.options(settings), *seed])
                self._has_to_end()
                if not self._is_pruned and code != EXIT_OK:
                    return self._not_finished(name, code)
        return self._tell()

    def _fit(self, name: str, options: Sequence[str]) -> int:
        fit = [sys.executable, "-m", "lit_rl", "fit", *options, "--name", name, "--requeue", "true"]
        command = [*fit, "--trainer.default_root_dir", str(self._place.directory)]
        while True:
            self._wait_for_another(name)
            if self._is_tried_out(name):
                return _KILLED
            self._count_try(name)
            with open(self._log(name), "ab") as output:
                code = self._signals.run(command, output, self._has_to_end if self._prunes else None)
            if code in _NOT_ITS_DOING or self._signals.came:
                self._count_try(name, -1)
            if code != EXIT_STOPPED or self._signals.came or self._is_pruned or not self._is_held(name):
                return code

    def _count_try(self, name: str, count: int = 1) -> None:
        """Note in the study, before a run is begun, that it is, and from what: whatever kills it may kill this, too."""
        tries, at = self._tries(name)
        newest = self._newest(name)
        if count > 0:
            tries, at = tries if at == newest else 0, newest
        self._trial.set_user_attr(f"tries_{name}", [tries + count, at])

    def _is_tried_out(self, name: str) -> bool:
        tries, at = self._tries(name)
        return tries >= _TRIES and at == self._newest(name)

    def _tries(self, name: str) -> tuple[int, str]:
        """How often a run was begun, and from which checkpoint."""
        tries, at = self._study.trials()[self._trial.number].user_attrs.get(f"tries_{name}", (0, ""))
        return int(tries), str(at)

    def _newest(self, name: str) -> str:
        """Name of a run's newest checkpoint; empty where there is none."""
        run = next(iter(versions_of(self._place.directory, name)), None)
        last = None if run is None else run / CHECKPOINTS / "last"
        return last.resolve().name if last is not None and last.exists() else ""

    def _log(self, name: str) -> Path:
        return self._place.directory / f"{name}.log"

    def _is_held(self, name: str) -> bool:
        root = self._place.directory
        return any(is_held(each) for each in (root / name, *versions_of(root, name)[:1]))

    def _wait_for_another(self, name: str) -> None:
        """Wait for what a killed sweep has left at work: that goes on to its end, which is then this trial's."""
        if self._is_held(name):
            self._place.say(f"  {name} is still trained by a process of an earlier start; waiting for it")
        while self._is_held(name) and not self._signals.came:
            time.sleep(0.3)

    def _has_to_end(self) -> bool:
        """Report what has been logged since, and say whether the pruner has decided.

        Values are looked at one by one in their order, so that what it decides does not depend on when it is asked.
        """
        if not self._prunes or self._is_pruned:
            return self._is_pruned
        newest = max(self._reported, default=-1)
        values = [*self._reported.items()][-1:] if self._reported else []
        values += [each for each in self._read(self._names[0]) if each[0] > newest]
        for step, value in values:
            if step not in self._reported:
                self._trial.report(value, step)
                self._reported[step] = value
            if self._trial.should_prune():
                self._is_pruned = True
                break
        return self._is_pruned

    def _read(self, name: str) -> list[tuple[int, float]]:
        return read_values(self._place.directory, name, self._sweep.metric)

    def _not_finished(self, name: str, code: int) -> int:
        if code in _FAILS:
            return self._fail(_last_words(self._log(name)) or f"exit code {code}")
        if self._is_tried_out(name):
            return self._fail(f"killed {_TRIES} times without a new checkpoint; see {self._log(name)}")
        what = "was stopped" if code == EXIT_STOPPED else f"ended with exit code {code}; see {self._log(name)}"
        self._place.say(f"trial {self._trial.number} {what}. The same command goes on with it.")
        return code

    def _fail(self, reason: str) -> int:
        self._trial.set_user_attr("reason", reason)
        self._study.study.tell(self._trial, state=TrialState.FAIL)
        self._place.say(f"  failed: {reason}")
        return EXIT_OK

    def _tell(self) -> int:
        if self._is_pruned:
            step, value = [*self._reported.items()][-1]
            self._trial.set_user_attr("reason", f"at timestep {step:,}")
            self._study.study.tell(self._trial, state=TrialState.PRUNED)
            self._place.say(f"  pruned at timestep {step:,}, {self._sweep.metric} {value:.6g}")
            return EXIT_OK
        found = [chosen(self._read(name), self._sweep.value, self._sweep.direction) for name in self._names]
        known = [value for value in found if value is not None]
        if len(known) < len(found):
            return self._fail(f"{self._sweep.metric} was never logged")
        value = sum(known) / len(known)
        self._study.study.tell(self._trial, value)
        best = self._study.study.best_trial
        self._place.say(f"  {self._sweep.metric} {value:.6g}; best: trial {best.number}, {best.value:.6g}")
        return EXIT_OK


def _last_words(log: Path) -> str:
    """The last error that a run has printed, or else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1][:300]
