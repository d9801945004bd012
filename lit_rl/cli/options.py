"""Options and arguments of a command as its file has them, read and not imported."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lit_rl.cli import commands
from lit_rl.cli.source import Source, Unreadable, read, source_of


@dataclass(frozen=True)
class Option:
    """What a command takes.

    Args:
        name: `--out`, or `checkpoint` for an argument without dashes.
        choices: the values it takes, where the file lists them.
        is_flag: whether it stands without a value.
    """

    name: str
    choices: tuple[str, ...] = ()
    is_flag: bool = False


def options_of(file: Path) -> list[Option]:
    """The options in a command's file and in the functions of the house that it hands its parser to."""
    return [*_in_tree(ast.parse(file.read_text()), read(f"{commands.__name__}.{file.stem}", file))]


def _in_tree(tree: ast.AST, source: Source) -> Iterator[Option]:
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0
        for alias in node.names
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="add_argument"), args=[ast.Constant(value=str(name)), *_]):
                yield _option(name, {each.arg: each.value for each in node.keywords}, source)
            case ast.Call(func=ast.Name(id=name)) if name.startswith("add_") and name in imported:
                yield from _in_function(*imported[name])


def _in_function(module: str, name: str) -> Iterator[Option]:
    try:
        source = source_of(module)
    except Unreadable:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            yield from _in_tree(node, source)


def _option(name: str, keywords: dict[str | None, ast.expr], source: Source) -> Option:
    choices: tuple[str, ...] = ()
    if "choices" in keywords:
        with contextlib.suppress(Unreadable):  # only an import tells
            choices = tuple(map(str, source.evaluate(keywords["choices"])))
    action = keywords.get("action")
    is_flag = isinstance(action, ast.Constant) and str(action.value).startswith("store_")
    return Option(name, choices, is_flag)
