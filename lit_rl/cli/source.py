"""Classes as their files have them, read and not imported: importing torch, Lightning or an algorithm takes seconds.

What is read is what an import would give; where a file does not say it plainly, `Unreadable` is raised and the caller
imports.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

_HOUSE = __name__.partition(".")[0]


class Unreadable(Exception):
    """Only an import makes out what a file says."""


class _Imported(NamedTuple):
    module: str
    name: str


class Source:
    """A module's file.

    Args:
        module: its name.
        path: where it lies.
    """

    def __init__(self, module: str, path: Path) -> None:
        self.module, self.package = module, module.partition(".")[0]
        inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
        self.tree = ast.parse(path.read_text())
        self._names = dict(_bindings(self.tree.body, inside))

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def classes(self) -> Iterator[Class]:
        """The classes that are defined here."""
        for node in self._names.values():
            if isinstance(node, ast.ClassDef):
                yield Class(self, node)

    def find_class(self, name: str, within: str | None = None) -> Class | None:
        """The class that a name of this module means, wherever it is defined; `None` outside the package `within`.

        Raises:
            Unreadable: it is no class that a file defines.
        """
        found = self._names.get(name)
        if isinstance(found, ast.ClassDef):
            return Class(self, found)
        if not isinstance(found, _Imported):
            raise Unreadable(f"{self.module}.{name}")
        if within not in (None, found.module.partition(".")[0]):
            return None
        return source_of(found.module).find_class(found.name, within)

    def value_of(self, name: str) -> Any:
        """What a name of this module means. A class of another package is stood in for: nobody writes one into a YAML.

        Raises:
            Unreadable: the file does not say.
        """
        found = self._names[name]
        if isinstance(found, _Imported):
            if found.module.partition(".")[0] in sys.stdlib_module_names:
                return getattr(importlib.import_module(found.module), found.name)
            source = source_of(found.module)
            if found.name not in source:
                raise Unreadable(f"{found.module}.{found.name}")
            return source.value_of(found.name)
        if isinstance(found, ast.ClassDef | ast.FunctionDef):
            if self.package == _HOUSE:
                return getattr(importlib.import_module(self.module), name)
            if isinstance(found, ast.ClassDef):
                return type(name, (), {})
        if isinstance(found, ast.Assign | ast.AnnAssign) and found.value is not None:
            return self.evaluate(found.value)
        raise Unreadable(f"{self.module}.{name}")

    def evaluate(self, node: ast.expr) -> Any:
        """The value of an expression in this file.

        Raises:
            Unreadable: something in it is not known here.
        """
        try:
            return eval(compile(ast.Expression(node), self.module, "eval"), {}, _Values(self))
        except Exception as error:
            raise Unreadable(f"{self.module}: {ast.unparse(node)}") from error


class _Values(dict[str, Any]):
    """The values of a file's names, worked out as they are asked for."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __missing__(self, name: str) -> Any:
        if name not in self._source:
            raise KeyError(name)  # a builtin, or a mistake
        return self._source.value_of(name)


class Class:
    """A class in a file.

    Args:
        source: the file.
        node: its definition.
    """

    def __init__(self, source: Source, node: ast.ClassDef) -> None:
        self.source, self.name, self._bases = source, node.name, node.bases
        self.doc = ast.get_docstring(node) or ""
        self._names = dict(_bindings(node.body, source.module))

    def lineage(self) -> Iterator[Class]:
        """This class and those of its package that it derives from.

        Raises:
            Unreadable: one derives from several, or from an expression.
        """
        yield self
        if not self._bases:
            return
        if len(self._bases) > 1 or not isinstance(self._bases[0], ast.Name):
            raise Unreadable(f"the bases of {self.name}")
        base = self.source.find_class(self._bases[0].id, self.source.package)
        if base is not None:
            yield from base.lineage()

    def arguments(self) -> dict[str, tuple[Source, ast.expr | None]]:
        """What the constructor takes, in the order of its signature: annotations, and the file they stand in.

        Raises:
            Unreadable: none of these classes has a constructor.
        """
        source, found = self._constructor()
        spec = found.args
        listed = [*spec.posonlyargs, *spec.args, spec.vararg, *spec.kwonlyargs, spec.kwarg][1:]
        return {arg.arg: (source, arg.annotation) for arg in listed if arg is not None}

    def defaults(self) -> dict[str, Any]:
        """What the constructor's arguments are that nobody gives, as far as the file says it.

        Raises:
            Unreadable: none of these classes has a constructor.
        """
        source, found = self._constructor()
        spec = found.args
        ordered = [*spec.posonlyargs, *spec.args]
        given = [*zip(reversed(ordered), reversed(spec.defaults), strict=False)]
        given += [(arg, node) for arg, node in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if node is not None]
        values: dict[str, Any] = {}
        for arg, node in given:
            with contextlib.suppress(Unreadable):
                values[arg.arg] = source.evaluate(node)
        return values

    def constructor_doc(self) -> str:
        """The docstring of the constructor, or else that of the class.

        Raises:
            Unreadable: none of these classes has a constructor.
        """
        return ast.get_docstring(self._constructor()[1]) or self.doc

    def _constructor(self) -> tuple[Source, ast.FunctionDef]:
        for each in self.lineage():
            found = each._names.get("__init__")
            if isinstance(found, ast.FunctionDef):
                return each.source, found
        raise Unreadable(f"the constructor of {self.name}")

    def attributes(self, name: str) -> list[tuple[Source, ast.expr]]:
        """What a class attribute is set to here and in the classes below, the base's first, and in which file."""
        found = [(each.source, each._names.get(name)) for each in reversed([*self.lineage()])]
        return [
            (source, node.value)
            for source, node in found
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        ]

    def is_open(self, needed: Iterable[str]) -> bool:
        """Whether a subclass has to define something: what is `needed`, or what an abstract method leaves open."""
        methods: dict[str, Any] = {}
        for each in reversed([*self.lineage()]):
            methods |= each._names
        return not all(name in methods for name in needed) or any(map(_is_abstract, methods.values()))


def _is_abstract(node: Any) -> bool:
    marks = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return any(isinstance(mark, ast.Name) and mark.id == "abstractmethod" for mark in marks)


def _bindings(body: list[ast.stmt], package: str) -> Iterator[tuple[str, Any]]:
    """The names that statements bind, and what to."""
    for node in body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name, node
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name, node
            case ast.ImportFrom():
                module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                for alias in node.names:
                    yield alias.asname or alias.name, _Imported(module, alias.name)


def source_of(module: str) -> Source:
    """The file of a module.

    Raises:
        Unreadable: it has none.
    """
    package, *rest = module.split(".")
    spec = importlib.util.find_spec(package)  # imports nothing, unlike that of a module in a package
    for folder in (spec and spec.submodule_search_locations) or ():
        place = Path(folder, *rest)
        for path in (place / "__init__.py", place.with_suffix(".py")):
            if path.is_file():
                return read(module, path)
    raise Unreadable(module)


@functools.cache
def read(module: str, path: Path) -> Source:
    """A file, read once."""
    return Source(module, path)
