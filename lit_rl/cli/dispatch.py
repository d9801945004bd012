"""Which command."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_rl.cli import commands
from lit_rl.cli.report import reported
from lit_rl.errors import EXIT_CONFIG, EXIT_OK, ConfigError, did_you_mean


@dataclass(frozen=True)
class Command:
    """A command by its file: name, what it does in a few words, and its place in the overview."""

    name: str
    summary: str
    order: int

    def run(self, argv: list[str]) -> int:
        """Run it; returns the exit code."""
        module = importlib.import_module(f"{commands.__name__}.{self.name.replace('-', '_')}")
        code: int = module.main(argv)
        return code


def known() -> dict[str, Command]:
    """Every command by name, in the order of the overview. Their files are read, not imported: that takes seconds."""
    files = [
        Path(folder) / f"{each.name}.py" for folder in commands.__path__ for each in pkgutil.iter_modules([folder])
    ]
    found = sorted(map(_described, files), key=lambda command: (command.order, command.name))
    return {command.name: command for command in found}


def _described(file: Path) -> Command:
    constants: dict[str, Any] = {}
    for node in ast.parse(file.read_text()).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)):
                constants[name] = value
    return Command(file.stem.replace("_", "-"), constants["SUMMARY"], constants["ORDER"])


def run_command(argv: list[str]) -> int:
    """Run ``lit-rl <argv>``; returns the exit code."""
    return reported(lambda: _command(argv))


def _command(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return EXIT_OK if argv else EXIT_CONFIG
    if argv[0] in ("-V", "--version"):
        from lit_rl.version import __version__

        print(f"lit-rl {__version__}")
        return EXIT_OK
    command, rest = argv[0], argv[1:]
    if command.startswith("-"):
        raise ConfigError(f"options come after the command: lit-rl {_meant(rest)} {command} ...")
    if command not in known():
        raise ConfigError(f"there is no command '{command}'.{did_you_mean(command, known())}")
    return known()[command].run(rest)


def _meant(rest: list[str]) -> str:
    return next((word for word in rest if word in known()), "fit")


def _overview() -> str:
    lines = ["usage: lit-rl COMMAND [options]        (or: python -m lit_rl COMMAND [options])", ""]
    lines += [f"  {command.name:<17} {command.summary}" for command in known().values()]
    lines += [
        "",
        "lit-rl fit --config run.yaml            train",
        "lit-rl fit --help                       every setting",
    ]
    return "\n".join(lines)
