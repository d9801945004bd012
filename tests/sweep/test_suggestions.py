"""A study that is opened anew for every trial suggests what one that is never closed suggests."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from lit_rl.cli.text import write_value
from lit_rl.tuning.study import StudyFile, mend
from lit_rl.tuning.sweep import JOURNAL, Sweep
from tests.sweep.conftest import SEARCH


def opened(directory: Path, **over: Any) -> StudyFile:
    directory.mkdir(exist_ok=True)
    plain: dict[str, Any] = {"run": "run.yaml", "study": str(directory), "search": SEARCH}
    return StudyFile(directory, Sweep.from_plain(plain | over), 512, write_value)


def told(study: StudyFile, trial: Any) -> dict[str, Any]:
    settings = study.values_of(trial.params)
    study.study.tell(trial, -abs(settings["model.learning_rate"] - 0.002) - settings["model.n_epochs"])
    return settings


def straight(directory: Path, count: int, **over: Any) -> list[dict[str, Any]]:
    study = opened(directory, **over)
    return [told(study, study.next_trial()) for _ in range(count)]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_they_depend_on_the_journal_alone(tmp_path: Path, sampler: str) -> None:
    expected = straight(tmp_path / "a", 14, sampler=sampler)
    found = []
    for _ in range(14):
        opened(tmp_path / "b", sampler=sampler).next_trial()  # and killed
        study = opened(tmp_path / "b", sampler=sampler)
        trial = study.in_flight()
        found.append(told(study, trial))
    assert found == expected
    assert len({repr(each) for each in found}) == 14
    assert straight(tmp_path / "c", 14, sampler=sampler, seed=1) != expected


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_kill_between_two_suggestions(tmp_path: Path, sampler: str) -> None:
    """Wherever the journal is cut within a line or after one, the trial comes to what it would have been."""
    straight(tmp_path / "a", 12, sampler=sampler)
    study = opened(tmp_path / "a", sampler=sampler)
    before = (tmp_path / "a" / JOURNAL).stat().st_size
    expected = study.values_of(study.next_trial().params)
    content = (tmp_path / "a" / JOURNAL).read_bytes()
    ends = [i + 1 for i in range(before, len(content)) if content[i : i + 1] == b"\n"]
    assert len(ends) >= len(SEARCH) + 1
    for end in [*ends, *(end - 3 for end in ends)]:
        shutil.rmtree(tmp_path / "b", ignore_errors=True)
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        (tmp_path / "b" / JOURNAL).write_bytes(content[:end])
        mend(tmp_path / "b")
        again = opened(tmp_path / "b", sampler=sampler)
        trial = again.in_flight() or again.next_trial()
        assert trial.number == 12
        assert again.values_of(trial.params) == expected


def test_the_journal_opens_with_optunas_own_tools(tmp_path: Path) -> None:
    values = straight(tmp_path / "a", 3)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "a" / JOURNAL)))
    study = optuna.load_study(study_name="a", storage=storage)
    assert [each.params["model.learning_rate"] for each in study.trials] == [v["model.learning_rate"] for v in values]


def test_a_grid_takes_every_combination_once(tmp_path: Path) -> None:
    search = {"model.n_epochs": {"int": [1, 2]}, "env.normalize.obs": {"choice": [True, False]}}
    study = opened(tmp_path / "a", sampler="grid", search=search)
    found = []
    for _ in range(4):
        trial = study.next_trial()
        found.append(tuple(study.values_of(trial.params).values()))
        study.study.tell(trial, 0.0)
    assert found == [(1, True), (1, False), (2, True), (2, False)]
