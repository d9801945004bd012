"""`sweep`: a search over settings."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_rl.checkpoint.files import put
from lit_rl.cli.output import check_free
from lit_rl.cli.sweep import (
    JOURNAL,
    RUN,
    Asked,
    check_installed,
    make_study,
    options_of,
    read_sweep,
    with_settings,
    write_sweep,
)
from lit_rl.cli.text import write_value
from lit_rl.errors import EXIT_OK, ConfigError, Held
from lit_rl.run.directory import RunLock

if TYPE_CHECKING:
    from lit_rl.tuning.study import StudyFile

SUMMARY = "search settings with Optuna, in a study that can be stopped"
ORDER = 15


def main(argv: list[str]) -> int:
    """Run ``lit-rl sweep``."""
    parser = argparse.ArgumentParser(
        prog="lit-rl sweep",
        description="Train a run.yaml with settings that Optuna chooses, one trial after the other, each a run of its "
        "own. Ctrl-C and SIGTERM stop it with exit code 75; the same command goes on with the very same study.",
    )
    parser.add_argument("sweep", nargs="?", help="a sweep file, or the directory of a study that has begun")
    parser.add_argument("--config", help="the run.yaml that is varied, in place of the file's `run`")
    parser.add_argument("--study", help="directory of the study, in place of the file's")
    parser.add_argument("--trials", type=int, help="how many trials the study is to have, in place of the file's")
    parser.add_argument("--show", action="store_true", help="only say what the study has come to")
    parser.add_argument("--write-best", type=Path, metavar="FILE", help="write a run.yaml with the best settings")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE where it is there already")
    parser.add_argument("--json", action="store_true", help="print JSON, with every trial")
    arguments = parser.parse_args(argv)
    check_installed()
    if arguments.sweep is None and arguments.study is None:
        raise ConfigError("sweep: name a sweep file, or the directory of a study.")
    if arguments.write_best is not None:
        check_free([arguments.write_best], arguments.overwrite, "--write-best")
    given = {"run": arguments.config, "study": arguments.study, "trials": arguments.trials}
    asked = read_sweep(arguments.sweep, given)
    if arguments.show and not (asked.directory / JOURNAL).is_file():
        raise ConfigError(f"--show: the study {asked.directory} has not begun.")
    say = _printer(sys.stderr if arguments.json else sys.stdout)
    study, code = (_opened(asked), EXIT_OK) if arguments.show else _trained(asked, say)
    _show(study, asked, arguments.json)
    if arguments.write_best is not None:
        _write_best(study, asked, arguments.write_best, say)
    return code


def _printer(stream: Any) -> Callable[[str], None]:
    def say(line: str) -> None:
        print(line, file=stream, flush=True)

    return say


def _opened(asked: Asked) -> StudyFile:
    from lit_rl.tuning.study import StudyFile

    return StudyFile(asked.directory, asked.sweep, asked.timesteps, write_value)


def _trained(asked: Asked, say: Callable[[str], None]) -> tuple[StudyFile, int]:
    from lit_rl.tuning.study import mend
    from lit_rl.tuning.trials import Place, run_trials

    make_study(asked)
    try:
        lock = RunLock(asked.directory)
    except Held:
        raise Held(f"study: another process works on {asked.directory}; wait for it, or stop it.") from None
    try:
        write_sweep(asked)
        mend(asked.directory)
        study = _opened(asked)

        def options(settings: dict[str, Any]) -> list[str]:
            return ["--config", str(asked.directory / RUN), *options_of(settings)]

        return study, run_trials(study, asked.sweep, Place(asked.directory, options, say))
    finally:
        lock.release()


def _show(study: StudyFile, asked: Asked, as_json: bool) -> None:
    from lit_rl.tuning.table import best_trial, plain_study, plain_trial, study_lines

    directory, sweep = asked.directory, asked.sweep
    if as_json:
        print(json.dumps(plain_study(study, sweep, directory), indent=2))
        return
    print("\n" + "\n".join(study_lines(study, sweep, directory, shutil.get_terminal_size().columns)))
    best = best_trial(study, sweep)
    if best is None:
        return
    plain = plain_trial(study, sweep, directory, best)
    command = ["lit-rl", "fit", "--config", str(directory / RUN), *options_of(plain["settings"])]
    if sweep.seeds is not None:
        command += ["--seeds", ",".join(map(str, sweep.seeds))]
    print(f"\nbest: trial {best.number}, {sweep.metric} {best.value:.6g}")
    print("\n".join(f"  {run}" for run in plain["runs"]))
    print(f"trained again by\n  {' '.join(map(shlex.quote, command))}")


def _write_best(study: StudyFile, asked: Asked, file: Path, say: Callable[[str], None]) -> None:
    from lit_rl.tuning.table import best_trial

    best = best_trial(study, asked.sweep)
    if best is None:
        raise ConfigError("--write-best: no trial has finished yet.")
    head = f"# Trial {best.number} of {asked.directory}: {asked.sweep.metric} {best.value:.6g}.\n"
    put(file, (head + with_settings(asked.directory / RUN, study.values_of(best.params))).encode())
    say(f"wrote {file}")
