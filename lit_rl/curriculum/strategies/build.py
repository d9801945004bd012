"""From the word or the mapping in a YAML file to a strategy."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from lit_rl.curriculum.construct import classes_in, construct, own_class
from lit_rl.curriculum.strategies.strategy import Strategy
from lit_rl.errors import ConfigError, did_you_mean


@functools.cache
def strategies() -> dict[str, type[Strategy]]:
    """The strategies of this folder's files by their words, in the order of the files."""
    found: dict[str, type[Strategy]] = {}
    for cls in classes_in(str(__package__), Strategy):
        if cls.NAME:
            assert cls.NAME not in found, f"{cls.NAME} means {found[cls.NAME].__name__} and {cls.__name__}"
            found[cls.NAME] = cls
    return found


def build_strategy(spec: str | Mapping[str, Any], key: str) -> Strategy:
    """The strategy meant by `spec`: its word, `{strategy: word, ...}` with options, or `{class_path, init_args}`.

    Args:
        spec: as it stands in the file.
        key: what error messages call it, such as `curriculum.sample`. Its last part is the key that the strategy
            must be one of.

    Raises:
        ConfigError: names what is wrong, the fix and the nearest spelling.
    """
    kind = key.rpartition(".")[2]
    if isinstance(spec, str):
        spec = {"strategy": spec}
    if not isinstance(spec, Mapping):
        raise ConfigError(f"{key}: must be a word or a mapping, is {spec!r}; write one of {_known(kind)}.")
    if "class_path" in spec:
        own: Strategy = own_class(spec, Strategy, key, "strategy")
        if kind != own.KEY:
            raise ConfigError(f"{key}.class_path: {spec['class_path']} stands under {own.KEY}; move it there.")
        own.key = key
        return own
    if "strategy" not in spec:
        near = next((did_you_mean(name, ["strategy"]) for name in spec if did_you_mean(name, ["strategy"])), "")
        raise ConfigError(f"{key}.strategy: missing; give one of {_known(kind)}, or a class_path.{near}")
    word = spec["strategy"]
    cls = strategies().get(word) if isinstance(word, str) else None
    if cls is None:
        raise ConfigError(f"{key}: unknown {word!r}; known are {_known(kind)}.{did_you_mean(word, _words(kind))}")
    if kind != cls.KEY:
        raise ConfigError(f"{key}: '{word}' stands under {cls.KEY}; write {cls.KEY}: {word}.")
    options = {name: value for name, value in spec.items() if name != "strategy"}
    strategy: Strategy = construct(cls, options, key, f" of {word}")
    strategy.key = key
    return strategy


def _known(kind: str) -> str:
    return ", ".join(_words(kind))


def _words(kind: str) -> list[str]:
    """The words of a key; that of the schedule that is no strategy comes first."""
    return [*(["list"] if kind == "schedule" else []), *(name for name, cls in strategies().items() if kind == cls.KEY)]
