"""Which algorithms there are, and what each takes: read from their files, so that a mistake is answered at once.

An algorithm of somebody's own is imported, and so is one of the house whose file cannot be read.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import sys
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lit_rl.algorithms as algorithms
from lit_rl.cli.source import Class, Source, Unreadable, read
from lit_rl.envs.build import import_class
from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.ops.limits import Limit
from lit_rl.training.config import LINKED

if TYPE_CHECKING:
    from lit_rl.training.module import RLModule

_BASE = "lit_rl.training.module"
_NEEDED = f"{', '.join(algorithms.NEEDED[:-1])} and {algorithms.NEEDED[-1]}"


@dataclass(frozen=True)
class ModelSettings:
    """What may stand below `model`.

    Args:
        parameters: the settings with their types; `Any` where a type cannot be read.
        limits: their ranges.
        policies: the names that `policy` takes beside import paths; none where an algorithm is not of the house.
        policy_arguments: gives what may stand below `policy_kwargs`.
        defaults: what settings are that nobody gives, where they have a default that can be read.
        doc: the docstring of the algorithm, which says what each means.
    """

    parameters: dict[str, Any]
    limits: Mapping[str, Limit]
    policies: Collection[str]
    policy_arguments: Callable[[], Collection[str]]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    doc: str = ""


def model_settings(path: str) -> ModelSettings:
    """What the algorithm takes that a `class_path` names, by short name or import path.

    Raises:
        ConfigError: there is none.
    """
    algorithms.refuse_unavailable(path, "model.class_path")
    try:
        found = next((each for each in _classes(path) if each.name == path), None)
        if found is not None and not found.is_open(algorithms.NEEDED):
            return _written(found)
        if found is None and not _is_path(path) and _BASE not in sys.modules:  # else others may be known by their names
            raise _no_algorithm(path, [each.name for each in _classes() if not each.is_open(algorithms.NEEDED)])
    except Unreadable:
        pass
    return _of(model_class(path))


def every_model() -> list[ModelSettings]:
    """What each algorithm of the house takes."""
    return [*models_by_name().values()]


def models_by_name() -> dict[str, ModelSettings]:
    """The algorithms of the house, and what each takes."""
    try:
        return {each.name: _written(each) for each in _classes() if not each.is_open(algorithms.NEEDED)}
    except Unreadable:
        return {name: _of(cls) for name, cls in algorithms.algorithms().items()}


# -- read ----------------------------------------------------------------------------------------------------------


def _classes(first: str = "") -> Iterator[Class]:
    """The classes in the files of the algorithms; those in the file that has the name of the `first` come first."""
    for info in sorted(pkgutil.iter_modules(algorithms.__path__), key=lambda info: info.name != first.lower()):
        spec = info.module_finder.find_spec(info.name, None)
        if spec is None or spec.origin is None:
            raise Unreadable(info.name)
        yield from read(f"{algorithms.__name__}.{info.name}", Path(spec.origin)).classes()


def _written(cls: Class) -> ModelSettings:
    arguments = {name: each for name, each in cls.arguments().items() if name not in LINKED}
    hints = {name: source.evaluate(node) if node is not None else Any for name, (source, node) in arguments.items()}
    limits: dict[str, Limit] = {}
    for source, node in cls.attributes("LIMITS"):
        limits |= source.evaluate(node)
    policies: dict[str, tuple[Source, ast.expr]] = {}
    for source, node in cls.attributes("POLICIES"):
        policies |= {name: (source, value) for name, value in _items(node)}

    def policy_arguments() -> Collection[str]:
        try:
            found = next((source.find_class(ast.unparse(node)) for source, node in policies.values()), None)
            return () if found is None else [*found.arguments()]
        except Unreadable:
            return _of(model_class(cls.name)).policy_arguments()

    return ModelSettings(
        hints, limits, [*policies], policy_arguments, cls.defaults(), _doc(each.doc for each in cls.lineage())
    )


def _doc(docs: Iterable[str]) -> str:
    """What a class's docstring begins with, and the arguments of all classes above it and its own, which come last."""
    own, *above = docs
    listed = [doc[found.start() :] for doc in (own, *above) if (found := re.search(r"^ *Args:$", doc, re.MULTILINE))]
    return "\n\n".join([own.partition("\n")[0], *reversed(listed)])


def _items(table: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """What a dictionary holds by text, in a file."""
    keys = table.keys if isinstance(table, ast.Dict) else [None]
    if not all(isinstance(key, ast.Constant) for key in keys):
        raise Unreadable(ast.unparse(table))
    assert isinstance(table, ast.Dict)
    for key, value in zip(table.keys, table.values, strict=True):
        yield ast.literal_eval(key), value  # type: ignore[arg-type]


# -- imported ------------------------------------------------------------------------------------------------------


def model_class(path: str) -> type[RLModule]:
    """The algorithm a `class_path` names, by short name or import path.

    Raises:
        ConfigError: there is none.
    """
    from lit_rl.training.module import RLModule

    algorithms.refuse_unavailable(path, "model.class_path")
    named = algorithms.algorithms()
    known = named | {cls.__name__: cls for cls in _subclasses(RLModule) if algorithms.is_algorithm(cls)}
    if path in known:
        found: type[RLModule] = known[path]
        return found
    if not _is_path(path):
        raise _no_algorithm(path, named, known)
    found = import_class(path, "model.class_path")
    if not (isinstance(found, type) and issubclass(found, RLModule)):
        raise ConfigError(f"model.class_path: {path} is not an RLModule.")
    if not algorithms.is_algorithm(found):
        raise ConfigError(f"model.class_path: {path} does not define all of {_NEEDED}.")
    return found


def _is_path(name: str) -> bool:
    return "." in name or ":" in name


def _no_algorithm(path: str, named: Iterable[str], known: Iterable[str] | None = None) -> ConfigError:
    near = did_you_mean(path, named if known is None else known)
    return ConfigError(f"model.class_path: there is no algorithm '{path}'; there are {', '.join(sorted(named))}.{near}")


def _subclasses(cls: Any) -> list[Any]:
    return [sub for direct in cls.__subclasses__() for sub in (direct, *_subclasses(direct))]


def _of(model: type) -> ModelSettings:
    from lit_rl.state.parts import union

    try:
        hints = typing.get_type_hints(model.__init__)  # type: ignore[misc]
    except NameError:  # a name that only a type checker imports
        hints = {}
    names = [name for name in inspect.signature(model).parameters if name not in LINKED]
    policy = next(iter(union(model, "POLICIES").values()), None)
    return ModelSettings(
        {name: hints.get(name, Any) for name in names},
        union(model, "LIMITS"),
        (),
        lambda: () if policy is None else [*inspect.signature(policy).parameters],
        {
            name: given.default
            for name, given in inspect.signature(model).parameters.items()
            if given.default is not given.empty
        },
        _doc(inspect.getdoc(each) or "" for each in model.__mro__),
    )
