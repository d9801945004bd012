"""What worker processes cannot import: environments that a script has registered, or defined under `__main__`.

A worker imports the script again where it has a file, but not what stands under ``if __name__ == "__main__":``, and
nothing of an interactive session. So the registration, and the classes that are named by `__main__`, are sent by value.
"""

from __future__ import annotations

import copy
import importlib
import sys
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym

from lit_rl.envs.config import EnvConfig

MAIN = "__main__"
_FIX = "register it in a module and give env.id: module:Name-v0, or use env.backend: sync"


@dataclass
class Carried:
    """What is sent to a worker.

    Args:
        pickled: names and objects of `__main__`, and a registration; empty where nothing is needed.
        lacking: why something that may be needed is not there; `None` where all is.
    """

    pickled: bytes = b""
    lacking: str | None = None

    def put_in_place(self) -> None:
        """In the worker: define and register what is not there yet."""
        if not self.pickled:
            return
        import pickle

        contents: Contents = pickle.loads(self.pickled)  # from our own parent process
        main = sys.modules[MAIN]
        for name, value in contents.objects.items():
            if not hasattr(main, name):
                setattr(main, name, value)
        if contents.spec is not None and contents.spec.id not in gym.registry:
            gym.registry[contents.spec.id] = contents.spec


@dataclass
class Contents:
    """Objects of `__main__` by name, and the registration of the environment's id."""

    objects: dict[str, Any] = field(default_factory=dict)
    spec: Any = None


def carry(config: EnvConfig) -> Carried:
    """What a worker needs of this process to make an environment of `config`."""
    contents = Contents({name: getattr(sys.modules[MAIN], name) for name in _names(config)}, _spec(config.id))
    if not contents.objects and contents.spec is None:
        return Carried()
    import cloudpickle

    try:
        return Carried(cloudpickle.dumps(contents))
    except Exception as error:  # whatever the objects raise
        said = " ".join(str(error).split())[:120]
        return Carried(lacking=f"It is defined in the script, and cannot be sent to worker processes ({said}); {_FIX}.")


def _names(config: EnvConfig) -> list[str]:
    """Of `__main__`, in the paths of classes."""
    paths = [config.class_path or "", *(wrapper.class_path for wrapper in config.wrappers)]
    found = [path.replace(":", ".").partition(".") for path in paths]
    return [name for module, _, name in found if module == MAIN and hasattr(sys.modules[MAIN], name)]


def _spec(name: str | None) -> Any:
    """The registration of an id, unless every process has it; a class of `__main__` by itself and not by its name."""
    spec = gym.registry.get(name.rpartition(":")[2]) if name is not None else None
    if spec is None or (isinstance(spec.entry_point, str) and spec.entry_point.startswith("gymnasium.")):
        return None
    module, _, attribute = spec.entry_point.partition(":") if isinstance(spec.entry_point, str) else ("", "", "")
    spec = copy.copy(spec)
    spec.vector_entry_point = None
    if module == MAIN:
        spec.entry_point = getattr(importlib.import_module(MAIN), attribute)
    return spec
