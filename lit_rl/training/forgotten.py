"""An algorithm that forgets to name a part of its state is told so in one line, before the part is lost.

Whatever an algorithm keeps on itself is either a network (in `state_dict`), named in its `PARTS`, or the same at every
boundary. Anything else that changes would be new after a resume, and the run another one.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer

from lit_rl.errors import ConfigError
from lit_rl.state.parts import Stateful, union
from lit_rl.training.contract import Algorithm


class Watch:
    """Looks at what a subclass has put on an algorithm.

    Args:
        algorithm: looked at; what it has at this moment is the life cycle's own.
    """

    def __init__(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm
        self._own = {*vars(algorithm), "_watch"}
        self._at_begin: set[str] = set()
        self._before: dict[str, str] = {}
        self._begun = False
        self._looked = False

    def _attributes(self) -> Iterator[tuple[str, Any]]:
        """What is neither the life cycle's own, nor a network's, nor named, nor a setting (a callback may change one).

        What somebody else hangs on a module while it trains is his.
        """
        algorithm, cls = self._algorithm, type(self._algorithm)
        others = self._own | {part.attribute or name for name, part in union(cls, "PARTS").items()}
        others |= union(cls, "SCRATCH").keys() | algorithm.hparams.keys()
        declared = self._at_begin | {name for each in cls.__mro__ for name in vars(each)}
        for name, value in vars(algorithm).items():
            if name in declared and name not in others and not isinstance(value, nn.Module | Optimizer | type):
                yield name, value

    def check_names(self) -> None:
        """Refuse what has a state of its own (state_dict and load_state_dict) and is not named.

        Raises:
            ConfigError: names it.
        """
        self._at_begin = set(vars(self._algorithm))
        for name, value in self._attributes():
            if isinstance(value, Stateful):
                raise ConfigError(
                    f"{type(self._algorithm).__name__}.{name} has a state and is not named in PARTS, so a resume would "
                    f"lose it; add PARTS = {{'{name}': Part('what it holds')}} to the class."
                )

    def begin(self) -> None:
        """Remember everything as it is now."""
        self._at_begin = set(vars(self._algorithm))
        self._before = {path: _digest(value) for path, value in self._values()}
        self._begun = True

    def look(self) -> None:
        """Compare with how everything was at the beginning.

        Raises:
            ConfigError: something has changed and is not named; names it.
        """
        if not self._begun:
            return
        for path, value in self._values():
            if self._before.get(path) != _digest(value):
                name = path.split(".")[0].split("[")[0]
                raise ConfigError(
                    f"{type(self._algorithm).__name__}.{path} changes in training and is no part of the run's state, "
                    f"so a resume would lose it; name '{name}' in PARTS (an object with state_dict and "
                    "load_state_dict), or in SCRATCH if it is made anew before it is used."
                )

    def first_look(self) -> None:
        """`look`, once."""
        if not self._looked:
            self._looked = True
            self.look()

    def _values(self) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for name, value in self._attributes():
            yield from _leaves(name, value, seen)


def _leaves(path: str, value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Every number, text, array and generator below a value, with its path. Networks are left out: they are state."""
    if isinstance(value, bool | int | float | str | bytes | np.ndarray | np.generic | Tensor | np.random.Generator):
        yield path, value
    elif id(value) in seen or isinstance(value, nn.Module | Optimizer | type) or callable(value):
        return
    elif isinstance(value, dict):
        seen.add(id(value))
        yield f"{path}[]", len(value)
        for key, item in value.items():
            yield from _leaves(f"{path}[{key!r}]", item, seen)
    elif isinstance(value, list | tuple | deque | set | frozenset):
        seen.add(id(value))
        yield f"{path}[]", len(value)
        for i, item in enumerate(value):
            yield from _leaves(f"{path}[{i}]", item, seen)
    elif hasattr(value, "__dict__") and not type(value).__module__.startswith(("torch", "gymnasium", "lightning")):
        seen.add(id(value))
        for key, item in vars(value).items():
            yield from _leaves(f"{path}.{key}", item, seen)


def _digest(value: Any) -> str:
    if isinstance(value, Tensor):
        data = value.detach().cpu().contiguous().numpy().tobytes()
    elif isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value).tobytes()
    elif isinstance(value, np.random.Generator):
        data = repr(value.bit_generator.state).encode()
    else:
        data = f"{type(value).__name__}{value!r}".encode()
    return hashlib.sha256(data).hexdigest()
