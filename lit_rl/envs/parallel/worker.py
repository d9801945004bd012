"""What runs in a worker process: a block of environments, and the trainer's commands to it.

A worker ignores the signals of the terminal and the scheduler, for the trainer decides when to stop, and it ends when
the trainer is gone. It notes in shared memory which environment is at work, so that one which takes its process down is
known.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from lit_rl.curriculum.levels import Level
from lit_rl.envs.block import Block
from lit_rl.envs.build import OF_YOUR_OWN
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentLost
from lit_rl.envs.parallel.carried import Carried
from lit_rl.envs.parallel.layout import (
    AGAIN,
    ANEW,
    ASSIGN,
    CAPTURE,
    CLOSE,
    EVENTS,
    FAILED,
    IDLE,
    LOST,
    NOTHING,
    REFUSED,
    RESTORE,
    STEP,
    Layout,
)
from lit_rl.envs.parallel.line import NUMBERS, WORKER, Line
from lit_rl.envs.slot import Slot
from lit_rl.errors import ConfigError, LitRLError
from lit_rl.process import guard

NOT_OURS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
]
"""Signals to a whole process group that mean the trainer."""


@dataclass
class Task:
    """What a worker is there for.

    Args:
        layout: the shared arrays.
        positions: of its environments in them.
        config: how to make an environment.
        run_seed: the run's seed.
        offset: environment index at position 0.
        stream: which family of seeds the episodes take.
        levels: of the run's curriculum.
        parent: process id of the trainer.
        carried: what it cannot import.
        watches: whether it and the trainer watch each other's counters.
    """

    layout: Layout
    positions: range
    config: EnvConfig
    run_seed: int
    offset: int
    stream: str
    levels: Sequence[Level]
    parent: int
    carried: Carried
    watches: bool = False

    def line(self, pipe: Connection, side: int) -> Line:
        """The line between the trainer and this worker, as one of them sees it."""
        return Line(pipe, self.layout.lines if self.watches else None, NUMBERS * self.positions.start, side)


class _Worker:
    """A worker's environments: what each command of the trainer does to them."""

    def __init__(self, task: Task) -> None:
        self._task, self._arrays, self._first = task, task.layout.arrays(), task.positions.start
        task.carried.put_in_place()
        self._block = self._make()
        self.idle()

    def _make(self) -> Block:
        slots: dict[int, Slot] = {}
        for i in self._task.positions:
            self._note(i)
            slots[i] = _slot(self._task, i)
            slots[i].tick = self._tick
        return Block(slots, self._arrays, self._note)

    def _note(self, i: int) -> None:
        self._arrays.at_work[self._first] = i
        self._tick()

    def _tick(self) -> None:
        self._arrays.progress[self._first] += 1

    def idle(self) -> None:
        """All is done that was asked for."""
        self._arrays.at_work[self._first] = IDLE

    def do(self, command: bytes, payload: bytes) -> bytes:
        """Carry a command out; returns the answer."""
        block = self._block
        if command == STEP:
            return self._step()
        if command == CAPTURE:
            return EVENTS + pickle.dumps(block.capture())
        if command == RESTORE:
            return EVENTS + pickle.dumps(block.restore(pickle.loads(payload)))  # from our own parent process
        if command == ASSIGN:
            block.assign(pickle.loads(payload))
        elif command == ANEW:
            return self._begin_after_loss(pickle.loads(payload))
        elif command == AGAIN:
            block.close()
            self._block = self._make()
        else:
            block.begin()
        return NOTHING

    def _step(self) -> bytes:
        block = self._block
        try:
            finals, episodes = block.step(self._arrays.action, int(self._arrays.allowed[0]))
        except EnvironmentLost:
            return LOST + pickle.dumps(self._losses())
        return EVENTS + pickle.dumps((finals, episodes, self._losses())) if finals else NOTHING

    def _begin_after_loss(self, allowed: int) -> bytes:
        try:
            self._block.begin_after_loss(allowed)
        except EnvironmentLost:
            return LOST + pickle.dumps(self._losses())
        return EVENTS + pickle.dumps(self._losses())

    def _losses(self) -> list[tuple[int, str, list[str]]]:
        """Position, error and its notes of every environment that was lost, as text: an error may hold anything."""
        return [(i, str(error), list(getattr(error, "__notes__", []))) for i, error in self._block.lost]

    def close(self) -> None:
        self._block.close()


def _slot(task: Task, i: int) -> Slot:
    try:
        return Slot(task.config, task.run_seed, task.offset + i, task.stream, task.levels)
    except ConfigError as error:
        if task.carried.lacking is None:
            raise
        raise ConfigError(f"{str(error).removesuffix(OF_YOUR_OWN)} {task.carried.lacking}") from None


def _protect(parent: int) -> None:
    """Leave stopping to the trainer, and die with it (at once on Linux; elsewhere when the pipe closes)."""
    for number in NOT_OURS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NOT_OURS)  # they were held while this process was started
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def serve(pipe: Connection, stderr: Connection, task: Task) -> None:
    """A worker's whole life."""
    _protect(task.parent)
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    faulthandler.enable()
    guard()
    line = task.line(pipe, WORKER)
    try:
        worker = _Worker(task)
        line.send(NOTHING)
        while True:
            line.wait()
            message = line.receive()
            if message == CLOSE:
                worker.close()
                return
            answer = worker.do(message[:1], message[1:])
            worker.idle()
            line.send(answer)
    except (EOFError, ConnectionError):  # the trainer is gone
        return
    except LitRLError as error:
        line.send(REFUSED + pickle.dumps((type(error), str(error), getattr(error, "__notes__", []))))
    except BaseException:
        line.send(FAILED + pickle.dumps(traceback.format_exc()))
