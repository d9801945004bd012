"""Options and arguments of a command as its file has them, read and not imported."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
    return [*_in_tree(ast.parse(file.read_text()))]


def _in_tree(tree: ast.Module) -> Iterator[Option]:
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0
        for alias in node.names
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="add_argument"), args=[ast.Constant(value=str(name)), *_]):
                yield _option(name, {each.arg: each.value for each in node.keywords})
            case ast.Call(func=ast.Name(id=name)) if name.startswith("add_") and name in imported:
                yield from _in_function(*imported[name])


def _in_function(module: str, name: str) -> Iterator[Option]:
    spec = importlib.util.find_spec(module)
    tree = ast.parse(Path(spec.origin).read_text()) if spec is not None and spec.origin else ast.Module([], [])
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    for function in found:
        yield from _in_tree(ast.Module([*_imports(tree), function], []))


def _imports(tree: ast.Module) -> list[ast.stmt]:
    return [node for node in tree.body if isinstance(node, ast.ImportFrom)]


def _option(name: str, keywords: dict[str | None, Any]) -> Option:
    choices: tuple[str, ...] = ()
    if isinstance(keywords.get("choices"), ast.List | ast.Tuple):
        choices = tuple(str(each.value) for each in keywords["choices"].elts if isinstance(each, ast.Constant))
    action = keywords.get("action")
    is_flag = isinstance(action, ast.Constant) and str(action.value).startswith("store_")
    return Option(name, choices, is_flag)
