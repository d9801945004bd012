"""What is said of a worker that was lost, or of environments that it has lost."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import TypeVar

from lit_rl.envs.failures import EnvironmentLost
from lit_rl.envs.parallel.handle import Worker
from lit_rl.errors import LitRLError

E = TypeVar("E", bound=LitRLError)


def raised(kind: type[E], text: str, notes: Sequence[str]) -> E:
    """An error with its notes."""
    error = kind(text)
    for note in notes:
        error.add_note(note)
    return error


def losses(plain: list[tuple[int, str, list[str]]]) -> list[tuple[int, EnvironmentLost]]:
    """What a worker says it has lost."""
    return [(i, raised(EnvironmentLost, text, notes)) for i, text, notes in plain]


def stderr_of(worker: Worker) -> list[str]:
    text = worker.stderr.last()
    return [f"end of the worker's standard error:\n{text}"] if text else []


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
