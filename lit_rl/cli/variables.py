"""Settings in environment variables, named as LightningCLI names them: `PL_FIT__ENV__N_ENVS=8` is `--env.n_envs 8`.

They count before every file and option, as with LightningCLI's `default_env`: whatever is given on the command line,
in a file or as an option, replaces them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lit_rl.cli.given import FLAGS, Given, put_together, read_arguments
from lit_rl.errors import ConfigError

PREFIX = "PL"


def variable_of(command: str, key: str) -> str:
    """The variable that a command reads for a key (`env.n_envs`)."""
    return f"{PREFIX}_{command.upper()}__{key.replace('.', '__').upper()}"


def read_variables(command: str, environment: Mapping[str, str] | None = None) -> list[Given]:
    """What the environment gives to a command, a configuration file (`PL_FIT__CONFIG`) first.

    Raises:
        ConfigError: a variable names nothing, or its file cannot be read; names the variable.
    """
    environment = os.environ if environment is None else environment
    start = variable_of(command, "")
    found = sorted((name for name in environment if name.startswith(start)), key=lambda name: _order(name, start))
    return [_read(name, name.removeprefix(start).lower().replace("__", "."), environment[name]) for name in found]


def _order(name: str, start: str) -> tuple[bool, int, str]:
    """A file before single keys, and a block before what lies in it."""
    return name != f"{start}CONFIG", name.count("__"), name


def _read(variable: str, key: str, text: str) -> Given:
    if not key or key in FLAGS or not all(key.split(".")):
        raise ConfigError(
            f"{variable}: there is no such setting; a variable is the command and the key, such as "
            f"{variable_of('fit', 'env.n_envs')}."
        )
    with named(variable):
        (given,) = read_arguments([f"--{key}={text}"])
    given.variable = variable
    return given


def in_one_block(given: Sequence[Given], model: str) -> list[Given]:
    """What is given, with the variables of the model in one block that names the algorithm.

    The parser takes settings of an algorithm only once it has been named, and the file that does comes later.
    """
    own = [
        each
        for each in given
        if each.variable is not None and not each.is_file and isinstance(each.tree.get("model"), dict)
    ]
    settings: dict[str, Any] = {}
    for each in own:
        settings = put_together(settings, each.tree["model"].get("init_args") or {})
    if not settings:
        return [*given]
    tree = {"model": {"class_path": model, "init_args": settings}}
    first = [each for each in given if each.variable is not None and each.is_file]
    rest = [each for each in given if each not in own and each not in first]
    return [*first, Given("config", PREFIX, tree), *rest]


@contextlib.contextmanager
def named(variable: str | None) -> Iterator[None]:
    """Put a variable in front of a mistake that it makes; `None` for what comes from elsewhere."""
    try:
        yield
    except ConfigError as error:
        if variable is None:
            raise
        raise ConfigError(f"{variable}: {error}") from None
