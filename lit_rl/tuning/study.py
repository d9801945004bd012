"""The study as Optuna keeps it: a journal in a file, and suggestions that depend on nothing but what the journal says.

Optuna's samplers draw from a stream that a stopped process takes with it. Here each suggestion has a stream of its own,
seeded by the study's seed, the trial's number and the key. So a study that was stopped anywhere suggests what one that
was not suggests.
"""

from __future__ import annotations

import itertools
import os
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from lit_rl.checkpoint.files import named
from lit_rl.errors import DataError
from lit_rl.tuning.space import Dimension, names_of
from lit_rl.tuning.sweep import JOURNAL, Sweep

_STARTUP = 5
"""Trials that are never pruned: the first ones, with which the others are compared."""
_WARMUP = 4
"""Nothing is pruned before this part of the timesteps: what is logged first says little."""
_RUNGS = 27
"""Hyperband's shortest trial has this part of the timesteps."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


class StudyFile:
    """The study of a sweep.

    Args:
        directory: where its journal lies, or is made.
        sweep: what it is.
        timesteps: of a whole run.
        write: a value as text in YAML.

    Raises:
        DataError: the journal is damaged.
    """

    def __init__(self, directory: Path, sweep: Sweep, timesteps: int, write: Callable[[Any], str]) -> None:
        self._sweep, self._write = sweep, write
        path, name = directory / JOURNAL, directory.absolute().name
        try:
            with named(path):
                storage = JournalStorage(JournalFileBackend(str(path)))
                studies = storage.get_all_studies()
                if not studies:
                    optuna.create_study(storage=storage, study_name=name, direction=sweep.direction)
                kept = studies[0].study_name if studies else name  # the directory may have been moved
                sampler = optuna.samplers.RandomSampler(seed=0)  # replaced before each suggestion
                self.study = optuna.load_study(
                    study_name=kept, storage=storage, sampler=sampler, pruner=_pruner(sweep, timesteps)
                )
        except (ValueError, KeyError) as error:
            raise DataError(f"{path} is damaged: {' '.join(str(error).split())[:120]}.") from None

    def trials(self) -> list[FrozenTrial]:
        """Every trial, by number."""
        return self.study.get_trials(deepcopy=False)

    def in_flight(self) -> Trial | None:
        """The trial that was begun and has not ended."""
        found = next((each for each in self.trials() if each.state == TrialState.RUNNING), None)
        return None if found is None else self._suggested(lambda: Trial(self.study, found._trial_id), found.number)

    def next_trial(self) -> Trial:
        """Begin a trial."""
        return self._suggested(self.study.ask, len(self.trials()))

    def values_of(self, params: dict[str, Any]) -> dict[str, Any]:
        """What a trial gives to each key, from what Optuna stores."""
        found = {each.key: params[each.key] for each in self._sweep.dimensions if each.key in params}
        for each in self._sweep.dimensions:
            if each.kind == "choice" and each.key in found:
                found[each.key] = names_of(each, self._write)[found[each.key]]
        return found

    def _suggested(self, begin: Callable[[], Trial], number: int) -> Trial:
        """A trial with a value for each key; those that it has already stay."""
        self.study.sampler = self._sampler(number, "")
        trial = begin()
        for each in self._sweep.dimensions:
            self.study.sampler = self._sampler(number, each.key)
            self._suggest(trial, each)
        return trial

    def _suggest(self, trial: Trial, dimension: Dimension) -> None:
        distribution = self._distribution(dimension)
        if isinstance(distribution, CategoricalDistribution):
            trial.suggest_categorical(dimension.key, distribution.choices)
        elif isinstance(distribution, IntDistribution):
            trial.suggest_int(dimension.key, distribution.low, distribution.high, step=distribution.step)
        elif isinstance(distribution, FloatDistribution):
            trial.suggest_float(dimension.key, distribution.low, distribution.high, log=distribution.log)

    def _distribution(self, dimension: Dimension) -> BaseDistribution:
        if dimension.kind == "choice":
            return CategoricalDistribution([*names_of(dimension, self._write)])
        low, high = dimension.values
        if dimension.kind == "int":
            return IntDistribution(low, high, step=dimension.step)
        return FloatDistribution(low, high, log=dimension.kind == "loguniform")

    def _sampler(self, number: int, key: str) -> optuna.samplers.BaseSampler:
        seed = int(np.random.SeedSequence([self._sweep.seed, number, zlib.crc32(key.encode())]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # Optuna 4 calls `multivariate` experimental, and PartialFixedSampler always
            if self._sweep.sampler == "tpe":
                return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=False)
            sampler = optuna.samplers.RandomSampler(seed=seed)
            if self._sweep.sampler == "random":
                return sampler
            return optuna.samplers.PartialFixedSampler(self._on_grid(number), sampler)

    def _on_grid(self, number: int) -> dict[str, Any]:
        """The combination that a trial has, the last key varying fastest."""
        axes = [
            [*names_of(each, self._write)] if each.kind == "choice" else
            list(range(each.values[0], each.values[1] + 1, each.step))
            for each in self._sweep.dimensions
        ]  # fmt: skip
        combination = next(itertools.islice(itertools.product(*axes), number, None), ())
        return {each.key: value for each, value in zip(self._sweep.dimensions, combination, strict=False)}


def mend(directory: Path) -> None:
    """Cut a line of the journal that a loss of power has left unfinished; Optuna would write its next one after it."""
    path = directory / JOURNAL
    if not path.exists():
        return
    with named(path):
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)


def _pruner(sweep: Sweep, timesteps: int) -> optuna.pruners.BasePruner:
    if sweep.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=timesteps // _WARMUP)
    if sweep.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(max(timesteps // _RUNGS, 1), max(timesteps, 1), 3)
    return optuna.pruners.NopPruner()
