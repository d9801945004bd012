"""A sweep file with its options: read, checked against what `fit` takes, and written into the study's directory."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_rl.checkpoint.files import make_directory, put
from lit_rl.cli.check import check_given
from lit_rl.cli.given import Given, model_name, read_arguments
from lit_rl.cli.seeds import check_command
from lit_rl.cli.text import read_yaml, rewritten, write_value
from lit_rl.cli.together import last_given
from lit_rl.errors import ConfigError
from lit_rl.run.directory import check_name
from lit_rl.tuning.sweep import JOURNAL as JOURNAL
from lit_rl.tuning.sweep import Sweep, check_same

SWEEP, RUN = "sweep.yaml", "run.yaml"
"""What lies in a study's directory: the sweep with every key given, and the file that it varies."""


@dataclass
class Asked:
    """A sweep that has been checked.

    Args:
        sweep: what it is.
        directory: of its study.
        run: the file that is varied, as it stands.
        given: the same as read.
    """

    sweep: Sweep
    directory: Path
    run: bytes
    given: Given

    @property
    def timesteps(self) -> int:
        """Of a whole run."""
        found = last_given([self.given], "total_timesteps", otherwise=1)
        return found if isinstance(found, int) else 1

    @property
    def is_begun(self) -> bool:
        """Whether the study's directory says what it is."""
        return (self.directory / SWEEP).is_file()


def check_installed() -> None:
    """Refuse to begin without Optuna.

    Raises:
        ConfigError: names the extra that brings it.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("sweep needs the package optuna; install it with `pip install 'lit-rl[sweep]'`.")


def read_sweep(wanted: str | None, options: dict[str, Any]) -> Asked:
    """A sweep by its file or by its study's directory, with the options that replace what stands there.

    Raises:
        ConfigError: something is wrong with it, or the study has begun as another.
    """
    plain = {} if wanted is None else _read(Path(wanted))
    plain |= {key: value for key, value in options.items() if value is not None}
    if wanted is None and plain.get("study") is not None and (Path(plain["study"]) / SWEEP).is_file():
        plain = _read(Path(plain["study"])) | plain
    sweep = Sweep.from_plain(plain)
    directory = Path(sweep.study)
    check_name(directory.absolute().name)
    given = Given("config", sweep.run, read_yaml(Path(sweep.run)))
    asked = Asked(sweep, directory, Path(sweep.run).read_bytes(), given)
    _check(asked)
    _check_study(asked)
    return asked


def _read(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        try:
            return read_yaml(path)
        except ConfigError as error:
            raise ConfigError(str(error).removeprefix("--config: ")) from None
    if not (path / SWEEP).is_file():
        raise ConfigError(f"sweep: {path} is no study; name a sweep file, or a directory that holds a {SWEEP}.")
    return read_yaml(path / SWEEP) | {"study": str(path), "run": str(path / RUN)}


def _check(asked: Asked) -> None:
    sweep, given = asked.sweep, [asked.given]
    mode = last_given(given, "mode", otherwise="fresh")
    if mode == "resume":
        raise ConfigError("mode: a trial begins a run of its own; give fresh or warmstart in the run's file.")
    if last_given(given, "pause_at") is not None:
        raise ConfigError("pause_at: a trial goes to its end; take it out of the run's file.")
    check_command(["--config", sweep.run])
    if sweep.metric.startswith("eval/") and last_given(given, "eval", "every") is None and not _varies(sweep, "eval."):
        raise ConfigError(f"metric: {sweep.metric} needs evaluations; give eval.every in {sweep.run}.")
    model = model_name(given)
    for each in sweep.dimensions:
        for value in each.values:
            (option,) = read_arguments([f"--{each.key}={write_value(value)}"])
            check_given(Given("config", "search", option.tree), model)


def _varies(sweep: Sweep, block: str) -> bool:
    return any(each.key.startswith(block) for each in sweep.dimensions)


def _check_study(asked: Asked) -> None:
    directory = asked.directory
    if not asked.is_begun:
        stray = [each for each in directory.iterdir() if each.name not in (RUN, ".lock")] if directory.is_dir() else []
        if stray or (directory.exists() and not directory.is_dir()):
            raise ConfigError(f"study: {directory} holds something else, {stray[0].name if stray else 'a file'}.")
        return
    check_same(asked.sweep, Sweep.from_plain(_read(directory)))
    if read_yaml(directory / RUN) != read_yaml(Path(asked.sweep.run)):
        raise ConfigError(
            f"run: {asked.sweep.run} is not what the study has begun with, {directory / RUN}; name a new study, or "
            f"go on with `lit-rl sweep {directory}`."
        )


def write_sweep(asked: Asked) -> None:
    """Put the sweep into its directory, which is there; the file that it varies stays as it was at the beginning."""
    if not asked.is_begun:
        put(asked.directory / RUN, asked.run, durably=True)
    text = rewritten(write_value(asked.sweep.plain))
    if not asked.is_begun or (asked.directory / SWEEP).read_text() != text:
        put(asked.directory / SWEEP, text.encode(), durably=True)


def make_study(asked: Asked) -> None:
    """Make the study's directory."""
    make_directory(asked.directory)


def options_of(settings: dict[str, Any]) -> list[str]:
    """Options of `fit` for settings by key."""
    return [f"--{key}={write_value(value)}" for key, value in settings.items()]


def with_settings(run: Path, settings: dict[str, Any]) -> str:
    """A run.yaml with other settings, as text; its comments are gone."""
    tree = read_yaml(run)
    if isinstance(tree.get("model"), str):
        tree["model"] = {"class_path": tree["model"]}
    for option in options_of(settings):
        (given,) = read_arguments([option])
        tree = _over(tree, given.tree)
    return rewritten(write_value(tree))


def _over(old: Any, new: Any) -> Any:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {**old, **{key: _over(old.get(key), value) for key, value in new.items()}}
