"""One file an algorithm, networks to update; found here by their files, and listed nowhere."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

from lit_rl.errors import ConfigError

NEEDED = ("build_policy", "collect", "update", "policy_actions")
"""What an algorithm has to define."""
EXTRAS = {"sb3_contrib": "contrib"}
"""Packages that not everybody has and some algorithms need, with our extra that brings them."""


def algorithms() -> dict[str, type[Any]]:
    """Every algorithm of the house by its name, but for those whose packages are not installed.

    Importing them is what makes their short names known to the parser.
    """
    found: dict[str, type[Any]] = {}
    for each in pkgutil.iter_modules(__path__):
        if needed(each.name):
            continue
        module = importlib.import_module(f"{__name__}.{each.name}")
        for name, cls in inspect.getmembers(module, inspect.isclass):
            if cls.__module__ == module.__name__ and is_algorithm(cls):
                found[name] = cls
    return found


def is_algorithm(cls: type[Any]) -> bool:
    """Whether a class defines all that an algorithm has to, and what its bases leave open."""
    needed = {*NEEDED, *(name for each in cls.__mro__ for name in vars(each))}
    methods = {name: getattr(cls, name, None) for name in needed if not name.startswith("__")}
    left_open = [name for name, method in methods.items() if getattr(method, "__isabstractmethod__", False)]
    return not left_open and None not in [methods[name] for name in NEEDED]


def needed(name: str) -> str | None:
    """The package that an algorithm of the house needs and that is not installed; `None` if all is there.

    Args:
        name: the algorithm's, or that of its file, which is the same in small letters.
    """
    spec = importlib.util.find_spec(f"{__name__}.{name.lower()}") if name.isidentifier() else None
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).read_text()
    asked = [package for package in EXTRAS if re.search(rf"^(?:from|import) {package}\b", text, re.MULTILINE)]
    return next((package for package in asked if importlib.util.find_spec(package) is None), None)


def refuse_unavailable(name: str, key: str) -> None:
    """Say in one line that an algorithm of the house needs a package that is not installed.

    Args:
        name: the algorithm's.
        key: where it was asked for, with which the line begins.

    Raises:
        ConfigError: it does.
    """
    package = needed(name)
    if package is not None:
        raise ConfigError(
            f"{key}: {name} needs the package {package}; install it with `pip install 'lit-rl[{EXTRAS[package]}]'`."
        )
