"""Which command."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NamedTuple

from lit_rl.cli import commands
from lit_rl.cli.report import exit_code_of
from lit_rl.errors import EXIT_CONFIG, EXIT_OK, ConfigError, did_you_mean


class Command(NamedTuple):
    """A command as the overview shows it, in the order of these fields.

    Args:
        order: its place; equal ones stand in the order of their names.
        name: as it is typed.
        summary: what it does, in a line.
    """

    order: float
    name: str
    summary: str


def files() -> dict[str, Path]:
    """The file of every command, by the command's name."""
    found = [file for folder in commands.__path__ for file in sorted(Path(folder).glob("*.py"))]
    return {file.stem.replace("_", "-"): file for file in found if not file.name.startswith("_")}


def overview() -> list[Command]:
    """Every command. Their files are read, not imported: that takes seconds."""
    return sorted(_described(name, file) for name, file in files().items())


def _described(name: str, file: Path) -> Command:
    import ast  # nothing but the overview needs it

    tree = ast.parse(file.read_text())
    constants: dict[str, Any] = {"SUMMARY": (ast.get_docstring(tree) or "").partition("\n")[0], "ORDER": float("inf")}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="SUMMARY" | "ORDER" as constant)], value=ast.Constant(value=value)):
                constants[constant] = value
    return Command(constants["ORDER"], name, constants["SUMMARY"])


def run_command(argv: list[str]) -> int:
    """Run ``lit-rl <argv>``; returns the exit code."""
    return exit_code_of(lambda: _command(argv))


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
    if command not in files():
        raise ConfigError(f"there is no command '{command}'.{did_you_mean(command, files())}")
    code: int = importlib.import_module(f"{commands.__name__}.{files()[command].stem}").main(rest)
    return code


def _meant(rest: list[str]) -> str:
    return next((argument for argument in rest if argument in files()), "fit")


def _overview() -> str:
    lines = ["usage: lit-rl COMMAND [options]        (or: python -m lit_rl COMMAND [options])", ""]
    lines += [f"  {command.name:<17} {command.summary}" for command in overview()]
    lines += [
        "",
        "lit-rl fit --config run.yaml            train",
        "lit-rl fit --help                       every setting",
    ]
    return "\n".join(lines)
