"""From the mapping in a YAML file to a rule."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from lit_rl.curriculum.rules.rule import Rule
from lit_rl.errors import ConfigError, did_you_mean


@functools.cache
def metrics() -> dict[str, type[Any]]:
    """The metrics of the short form and the rule that each means, as the classes in this folder's files name them.

    Those of evaluations come last; each rule's own stand as it names them.
    """
    found: dict[str, type[Any]] = {}
    package = importlib.import_module(str(__package__))
    for each in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{each.name}")
        classes: list[tuple[str, Any]] = inspect.getmembers(module, inspect.isclass)
        for _, cls in classes:
            if cls.__module__ == module.__name__ and Rule in cls.__mro__:
                for metric in vars(cls).get("METRICS", ()):
                    assert metric not in found, f"{metric} means {found[metric].__name__} and {cls.__name__}"
                    found[metric] = cls
    return dict(sorted(found.items(), key=lambda pair: "/" in pair[0]))


def build_rule(spec: Mapping[str, Any], key: str) -> Rule:
    """The rule meant by `spec`: `{metric, threshold, ...}` or `{class_path, init_args}`.

    `key` is what error messages call it, such as `curriculum.levels[0].promote`. Raises ConfigError.
    """
    if not isinstance(spec, Mapping):
        raise ConfigError(f"{key}: must be a mapping, is {spec!r}; write {{metric: ..., threshold: ...}}.")
    if "class_path" in spec:
        return _own_rule(spec, key)
    if "metric" not in spec:
        near = next((did_you_mean(k, ["metric"]) for k in spec if did_you_mean(k, ["metric"])), "")
        raise ConfigError(f"{key}.metric: missing; give one of {', '.join(metrics())}, or a class_path.{near}")
    metric = spec["metric"]
    if metric not in list(metrics()):
        raise ConfigError(
            f"{key}.metric: unknown {metric!r}; known are {', '.join(metrics())}.{did_you_mean(metric, metrics())}"
        )
    options = dict(spec)
    if "metric" not in inspect.signature(metrics()[metric]).parameters:
        del options["metric"]
    rule: Rule = _construct(metrics()[metric], options, key, f" of a rule on {metric}")
    return rule


def _own_rule(spec: Mapping[str, Any], key: str) -> Rule:
    extra = [name for name in spec if name not in ("class_path", "init_args")]
    if extra:
        raise ConfigError(f"{key}.{extra[0]}: not known beside class_path; move it under init_args.")
    path = str(spec["class_path"])
    module_name, _, class_name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{key}.class_path: cannot import {path!r} ({error}); write module.Class.") from error
    if not inspect.isclass(cls):
        raise ConfigError(f"{key}.class_path: {path} is not a class; name a subclass of lit_rl.curriculum.Rule.")
    if inspect.isabstract(cls):
        lacking = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise ConfigError(f"{key}.class_path: {path} is an unfinished rule; write its {lacking}.")
    if Rule not in cls.__mro__:
        raise ConfigError(f"{key}.class_path: {path} is no rule; make it a subclass of lit_rl.curriculum.Rule.")
    rule: Rule = _construct(cls, spec.get("init_args") or {}, f"{key}.init_args", f" of {path}")
    return rule


def _construct(cls: type[Any], options: Mapping[str, Any], key: str, owner: str) -> Any:
    """`cls(**options)`, with mistakes in the options named by `key`."""
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
