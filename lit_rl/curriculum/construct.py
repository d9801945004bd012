"""From a mapping in a YAML file to an object: mistakes in its options are named by their keys."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

from lit_rl.errors import ConfigError, did_you_mean


@functools.cache
def classes_in(package_name: str, base: type[Any]) -> tuple[type[Any], ...]:
    """The finished subclasses of `base` that the files of a package define, file by file."""
    found: list[type[Any]] = []
    package = importlib.import_module(package_name)
    for each in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package_name}.{each.name}")
        classes: list[tuple[str, Any]] = inspect.getmembers(module, inspect.isclass)
        found += [
            cls
            for _, cls in classes
            if cls.__module__ == module.__name__ and base in cls.__mro__ and not inspect.isabstract(cls)
        ]
    return tuple(found)


def own_class(spec: Mapping[str, Any], base: type[Any], key: str, what: str) -> Any:
    """The object meant by `{class_path, init_args}`, a subclass of `base`.

    `key` is what error messages call `spec`, `what` is the word for a `base`. Raises ConfigError.
    """
    extra = [name for name in spec if name not in ("class_path", "init_args")]
    if extra:
        raise ConfigError(f"{key}.{extra[0]}: not known beside class_path; move it under init_args.")
    path = str(spec["class_path"])
    module_name, _, class_name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{key}.class_path: cannot import {path!r} ({error}); write module.Class.") from error
    public = f"lit_rl.curriculum.{base.__name__}"
    if not inspect.isclass(cls):
        raise ConfigError(f"{key}.class_path: {path} is not a class; name a subclass of {public}.")
    if inspect.isabstract(cls):
        lacking = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise ConfigError(f"{key}.class_path: {path} is an unfinished {what}; write its {lacking}.")
    if base not in cls.__mro__:
        raise ConfigError(f"{key}.class_path: {path} is no {what}; make it a subclass of {public}.")
    options = spec.get("init_args") or {}
    if not isinstance(options, Mapping):
        raise ConfigError(f"{key}.init_args: must be a mapping, is {options!r}; write it as `key: value` lines.")
    return construct(cls, options, f"{key}.init_args", f" of {path}")


def construct(cls: type[Any], options: Mapping[str, Any], key: str, owner: str) -> Any:
    """`cls(**options)`, with mistakes in the options named by `key`; `owner` is whose options they are."""
    parameters = inspect.signature(cls).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in options:
        if name not in parameters and not takes_any:
            raise ConfigError(
                f"{key}.{name}: not an option{owner}; its options are {', '.join(parameters) or 'none'}."
                f"{did_you_mean(name, parameters)}"
            )
    for name, parameter in parameters.items():
        required = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if required and name not in options:
            raise ConfigError(f"{key}.{name}: missing; it is a required option{owner}.")
    try:
        return cls(**options)
    except ConfigError as error:
        raise ConfigError(f"{key}.{error}") from error


def class_paths(value: Any) -> Iterator[str]:
    """Every class that a value names by `class_path`, at any depth."""
    if isinstance(value, Mapping):
        if value.get("class_path") is not None:
            yield str(value["class_path"])
        for item in value.values():
            yield from class_paths(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from class_paths(item)
