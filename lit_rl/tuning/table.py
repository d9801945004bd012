"""What a study has come to, for a terminal and as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from lit_rl.compare.table import Column, laid_out, number, shown
from lit_rl.run.directory import versions_of
from lit_rl.tuning.space import brief
from lit_rl.tuning.study import StudyFile
from lit_rl.tuning.sweep import Sweep
from lit_rl.tuning.trials import run_names

STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "in flight",
    TrialState.WAITING: "in flight",
}
_MOST = 10


def ranked(study: StudyFile, sweep: Sweep) -> list[FrozenTrial]:
    """The finished trials, best first, then pruned, failed and those in flight, by number."""
    sign = -1 if sweep.direction == "maximize" else 1
    order = list(STATES)

    def place(trial: FrozenTrial) -> tuple[int, float, int]:
        value = trial.value if trial.state == TrialState.COMPLETE else None
        return order.index(trial.state), 0.0 if value is None else sign * value, trial.number

    return sorted(study.trials(), key=place)


def best_trial(study: StudyFile, sweep: Sweep) -> FrozenTrial | None:
    """The best of the finished trials."""
    first = next(iter(ranked(study, sweep)), None)
    return first if first is not None and first.state == TrialState.COMPLETE else None


def plain_trial(study: StudyFile, sweep: Sweep, directory: Path, trial: FrozenTrial) -> dict[str, Any]:
    """A trial as plain values."""
    runs = [next(iter(versions_of(directory, name)), None) for name in run_names(sweep, trial.number)]
    return {
        "number": trial.number,
        "state": STATES[trial.state],
        "value": trial.value,
        "settings": study.values_of(trial.params),
        "runs": [str(run) for run in runs if run is not None],
        "reason": trial.user_attrs.get("reason"),
    }


def plain_study(study: StudyFile, sweep: Sweep, directory: Path) -> dict[str, Any]:
    """A study as plain values, its trials by rank."""
    best = best_trial(study, sweep)
    return {
        "study": str(directory),
        "metric": sweep.metric,
        "value": sweep.value,
        "direction": sweep.direction,
        "wanted": sweep.wanted,
        "best": None if best is None else best.number,
        "trials": [plain_trial(study, sweep, directory, trial) for trial in ranked(study, sweep)],
    }


def study_lines(study: StudyFile, sweep: Sweep, directory: Path, width: int) -> list[str]:
    """The best trials with what they were given, none wider than `width`, and how many there are."""
    trials = [plain_trial(study, sweep, directory, trial) for trial in ranked(study, sweep)]
    counts = {state: sum(trial["state"] == state for trial in trials) for state in STATES.values()}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    lines = [f"{directory}: {len(trials)} of {sweep.wanted} trials{': ' * bool(said)}{said}"]
    if not trials:
        return lines
    few = trials[:_MOST]
    columns = [
        Column("trial", [str(trial["number"]) for trial in few], 100, is_number=True),
        Column("state", [trial["state"] for trial in few], 98),
        Column(_last_part(sweep.metric), [shown(number(trial["value"])) for trial in few], 99, is_number=True),
    ]
    names = _short([each.key for each in sweep.dimensions])
    for i, (key, name) in enumerate(names.items()):
        cells = [shown(brief(trial["settings"][key])) if key in trial["settings"] else "-" for trial in few]
        columns.append(Column(name, cells, 90 - i, is_number=True, shortens=True))
    lines += ["", *laid_out(columns, width)]
    if len(trials) > len(few):
        lines.append(f"and {len(trials) - len(few)} more; --json has them")
    reasons = [f"trial {each['number']} failed: {each['reason']}" for each in trials if each["state"] == "failed"]
    return lines + ([""] if reasons else []) + [shown(reason) for reason in reasons[-3:]]


def _last_part(key: str) -> str:
    return key.rpartition("/")[2]


def _short(keys: list[str]) -> dict[str, str]:
    """Keys by their last part, or by the last two where that is another's, too."""
    last = [key.rpartition(".")[2] for key in keys]
    return {
        key: name if last.count(name) == 1 else ".".join(key.split(".")[-2:])
        for key, name in zip(keys, last, strict=True)
    }
