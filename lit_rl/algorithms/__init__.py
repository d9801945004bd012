"""One file an algorithm, networks to update; found here by their files, and listed nowhere."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

NEEDED = ("build_policy", "collect", "update", "policy_actions")
"""What an algorithm has to define."""


def algorithms() -> dict[str, type[Any]]:
    """Every algorithm of the house by its name. Importing them is what makes their short names known to the parser."""
    found: dict[str, type[Any]] = {}
    for each in pkgutil.iter_modules(__path__):
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
