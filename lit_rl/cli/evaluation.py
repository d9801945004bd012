"""`test RUN`: a run directory or a checkpoint alone says what is evaluated and with which configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lit_rl.cli.given import Given, own_config, read_arguments
from lit_rl.compare.find import path_or_run
from lit_rl.errors import ConfigError
from lit_rl.run.wanted import DEFAULT_ROOT


def evaluation_arguments(command: str, argv: list[str]) -> list[Given]:
    """What is given to `test` or `validate`, with the checkpoint and the configuration that a path alone means.

    Raises:
        ConfigError: the path holds no checkpoint, or its configuration is to be given.
    """
    if not argv or argv[0].startswith("-"):
        return read_arguments(argv)
    wanted, given = path_or_run(argv[0], DEFAULT_ROOT), read_arguments(argv[1:])
    which = next((each.text for each in given if each.name == "which"), None)
    given = [each for each in given if each.name != "which"]
    if any(each.name == "ckpt_path" for each in given):
        raise ConfigError(f"{command}: {wanted} and --ckpt_path both name a checkpoint; keep one.")
    place = Path(wanted)
    if place.suffix in (".yaml", ".yml"):
        return read_arguments(argv)  # says how a configuration is given
    if not any(each.is_file for each in given):
        given = [_configuration(command, place), *given]
    path = str(_checkpoint(place, which))
    return [*given, Given("ckpt_path", path, {"ckpt_path": path})]


def _checkpoint(place: Path, which: str | None) -> Path:
    """The checkpoint that a path means; a run's best, if one has a score, else its last."""
    from lit_rl.inference.load import check_which, is_run, open_checkpoint, refuse_which  # needs torch

    chosen = check_which(which)
    if is_run(place):
        return open_checkpoint(place, chosen).path
    refuse_which(place, chosen)
    return place


def _configuration(command: str, place: Path) -> Given:
    """The configuration of the run that a path lies in, or else the settings in the checkpoint itself."""
    from lit_rl.inference.load import existing

    existing(place)
    file = own_config(str(place))
    if file is not None:
        return read_arguments(["--config", str(file)])[0]
    if place.suffix == ".zip":
        raise ConfigError(
            f"{command}: {place} does not say which environment it is for; give a configuration, such as the one that "
            f"`lit-rl import-sb3 {place} --out run.yaml` writes: --config run.yaml."
        )
    return Given("config", str(place), _settings_in(command, place))


def _settings_in(command: str, place: Path) -> dict[str, Any]:
    """A checkpoint's settings as a configuration, if nothing has to be imported for them."""
    from lit_rl.inference.load import algorithm_in, open_checkpoint
    from lit_rl.training.config import LINKED
    from lit_rl.training.settings import foreign_environment, refuse_foreign_classes

    opened = open_checkpoint(place)
    algorithm, stored = algorithm_in(opened.path, opened.state), dict(opened.state["hyper_parameters"])
    foreign = foreign_environment(stored)
    if foreign is not None:
        raise ConfigError(f"{command}: {place} names {foreign}; give the run's own YAML with --config to import it.")
    try:
        refuse_foreign_classes(stored, {})
    except ConfigError as error:
        what = str(error).partition(";")[0]
        raise ConfigError(f"{command}: {what}; give the run's own YAML with --config to import it.") from None
    linked = {key: stored.pop(argument) for argument, key in LINKED.items() if stored.get(argument) is not None}
    own = {key: value for key, value in stored.items() if key not in LINKED}
    return {**linked, "model": {"class_path": algorithm.__name__, "init_args": own}}
