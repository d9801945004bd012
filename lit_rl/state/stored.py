"""Parts of the state that are too large to be written anew with every checkpoint: their rows lie in files of their own.

Rows are only ever added, and counted for good. What is complete is written once, and later checkpoints share it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np


class Piece(Protocol):
    """Some rows of such a part, for one file.

    Those from `begin` to `end` of the place in the run that its `name` stands for. A complete one has the same rows in
    every checkpoint of the history that has it, but for the oldest, which go.
    """

    @property
    def name(self) -> str: ...
    @property
    def begin(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def complete(self) -> bool: ...

    def columns(self) -> dict[str, np.ndarray]:
        """Arrays by name, each with a row for each of the piece, but for those whose names begin with `final`."""


@runtime_checkable
class Stored(Protocol):
    """A part of a rank's state whose `state_dict` says where it stands (`begin`, `end`), and no row."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Take a state over; its `pieces` are begin, end and columns of each file, oldest first."""

    def pieces(self) -> Iterable[Piece]:
        """Everything that is there, oldest first."""

    def settle(self) -> None:
        """This is a boundary: `roll_back` comes back here."""

    def roll_back(self) -> None:
        """Be again what it was at the last boundary."""


def joined(state: dict[str, Any]) -> dict[str, Any]:
    """The state of a part as one value to compare: where it stands, and its rows in one array a column."""
    rest = {key: value for key, value in state.items() if key not in ("pieces", "files")}
    columns: dict[str, list[np.ndarray]] = {}
    for begin, _, found in state["pieces"]:
        old = max(state["begin"] - begin, 0)
        kept = found["final_row"] >= state["begin"] if "final_row" in found else None
        for name, array in found.items():
            columns.setdefault(name, []).append(array[kept] if name.startswith("final") else array[old:])
    return rest | {"columns": {name: np.concatenate(arrays) for name, arrays in columns.items()}}
