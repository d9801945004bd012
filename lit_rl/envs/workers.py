"""Environments in worker processes: a few processes, each stepping a block of environments.

Arrays go through shared memory; a pipe per worker carries one byte a step, and what is rare: finished episodes, last
observations, captured states, errors. A worker ignores the signals of the terminal and the scheduler, for the trainer
decides when to stop, and it ends when the trainer is gone.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import itertools
import multiprocessing as mp
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.curriculum.levels import Level
from lit_rl.data.episode import Episode
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.slot import Slot
from lit_rl.envs.vector import EnvironmentFailed, Grade, StepResult, write_row
from lit_rl.errors import LitRLError
from lit_rl.ops.streams import Stream
from lit_rl.ops.tree import Obs

STEP, RESET, CAPTURE, RESTORE, LEVEL, CLOSE = b"s", b"r", b"c", b"b", b"l", b"x"
NOTHING, EVENTS, FAILED, REFUSED = b"n", b"e", b"f", b"u"
_START_TIMEOUT_S = 120.0


@dataclass
class _Layout:
    """The shared arrays, as raw shared memory that can be handed to a spawned process."""

    obs: Any
    action: Any
    reward: Any
    terminated: Any
    truncated: Any
    n_envs: int
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]

    @classmethod
    def allocate(cls, n_envs: int, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> _Layout:
        context = mp.get_context("spawn")

        def raw(space: spaces.Space[Any]) -> Any:
            if isinstance(space, spaces.Dict):
                return {key: raw(part) for key, part in space.spaces.items()}
            size = int(np.prod(space.shape or ())) * np.dtype(space.dtype).itemsize * n_envs
            return context.RawArray(ctypes.c_uint8, max(size, 1))

        return cls(
            obs=raw(observation_space),
            action=raw(action_space),
            reward=context.RawArray(ctypes.c_double, n_envs),
            terminated=context.RawArray(ctypes.c_bool, n_envs),
            truncated=context.RawArray(ctypes.c_bool, n_envs),
            n_envs=n_envs,
            observation_space=observation_space,
            action_space=action_space,
        )

    def arrays(self) -> _Arrays:
        def view(raw: Any, space: spaces.Space[Any]) -> Any:
            if isinstance(space, spaces.Dict):
                return {key: view(raw[key], part) for key, part in space.spaces.items()}
            shape = (self.n_envs, *(space.shape or ()))
            return np.frombuffer(raw, dtype=space.dtype, count=int(np.prod(shape))).reshape(shape)

        return _Arrays(
            view(self.obs, self.observation_space),
            view(self.action, self.action_space),
            np.frombuffer(self.reward, dtype=np.float64),
            np.frombuffer(self.terminated, dtype=np.bool_),
            np.frombuffer(self.truncated, dtype=np.bool_),
        )


@dataclass
class _Arrays:
    obs: Obs
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


def _protect(parent: int) -> None:
    """Leave stopping to the trainer, and die with it (at once on Linux; elsewhere when the pipe closes)."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _serve(
    pipe: Connection,
    layout: _Layout,
    config: EnvConfig,
    run_seed: int,
    rows: range,
    offset: int,
    stream: int,
    levels: Sequence[Level],
    parent: int,
) -> None:
    """A worker's whole life: `rows` are its rows in the shared arrays."""
    _protect(parent)
    index = rows.start
    try:
        arrays = layout.arrays()
        slots = {}
        for row in rows:
            index = row
            slots[row] = Slot(config, run_seed, offset + row, Stream(stream), levels)
        pipe.send_bytes(NOTHING)
        while True:
            message = pipe.recv_bytes()
            command, payload = message[:1], message[1:]
            events: Any = None
            if command == STEP:
                actions = arrays.action[rows.start : rows.stop].copy()
                finals: list[tuple[int, Any]] = []
                episodes: list[Episode] = []
                for row, slot in slots.items():
                    index = row
                    action = actions[row - rows.start]
                    obs, arrays.reward[row], terminated, truncated, final = slot.step(action)
                    write_row(arrays.obs, row, obs)
                    arrays.terminated[row] = terminated
                    arrays.truncated[row] = truncated
                    if final is not None:
                        finals.append((row, final))
                        episodes += slot.take_finished()
                events = (finals, episodes) if finals else None
            elif command == RESET:
                for row, slot in slots.items():
                    index = row
                    write_row(arrays.obs, row, slot.begin())
                    slot.take_finished()
            elif command == LEVEL:
                for slot in slots.values():
                    slot.curriculum_level = pickle.loads(payload)
            elif command == CAPTURE:
                events = [slot.capture().to_plain() for slot in slots.values()]
            elif command == RESTORE:
                events = []
                for row, state in zip(rows, pickle.loads(payload), strict=True):  # from our own parent process
                    index = row
                    obs, exact = slots[row].restore_plain(state)
                    write_row(arrays.obs, row, obs)
                    if not exact:
                        events.append(row)
            else:
                for slot in slots.values():
                    slot.close()
                return
            pipe.send_bytes(NOTHING if events is None else EVENTS + pickle.dumps(events))
    except EOFError:  # the trainer is gone
        return
    except BrokenPipeError:
        return
    except LitRLError as error:
        pipe.send_bytes(REFUSED + pickle.dumps((offset + index, type(error), str(error))))
    except BaseException:
        pipe.send_bytes(FAILED + pickle.dumps((offset + index, traceback.format_exc())))


class AsyncVectorEnv:
    """Steps blocks of environments in worker processes, in parallel.

    What an environment does is the same to the bit as in `SyncVectorEnv`: both run the same `Slot`.

    Args:
        config: how to make an environment.
        run_seed: the run's seed.
        rows: global indices of this rank's environments.
        n_workers: processes, each with an equal share of the environments (up to one more or less).
        observation_space: of one environment.
        action_space: of one environment.
        stream: which family of seeds the episodes take.
        levels: of the run's curriculum; empty without one.
    """

    grade: Grade = "exact"

    def __init__(
        self,
        config: EnvConfig,
        run_seed: int,
        rows: range,
        n_workers: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        stream: Stream = Stream.EPISODES,
        levels: Sequence[Level] = (),
    ) -> None:
        self.offset, self.n_envs = rows.start, len(rows)
        self.observation_space, self.action_space = observation_space, action_space
        self._config = config
        self._timeout = config.step_timeout
        layout = _Layout.allocate(self.n_envs, observation_space, action_space)
        self._arrays = layout.arrays()
        bounds = np.linspace(0, self.n_envs, min(n_workers, self.n_envs) + 1).astype(int).tolist()
        self._blocks = [range(start, stop) for start, stop in itertools.pairwise(bounds)]
        self._pipes: list[Connection] = []
        self._workers: list[Any] = []
        # Before multiprocessing's own exit handler, which would ask workers politely that ignore being asked.
        atexit.register(self.close)
        context = mp.get_context("spawn")
        try:
            for block in self._blocks:
                ours, theirs = context.Pipe()
                worker = context.Process(
                    target=_serve,
                    args=(theirs, layout, config, run_seed, block, self.offset, int(stream), levels, os.getpid()),
                    name=f"lit_rl environments {self.offset + block.start} to {self.offset + block.stop - 1}",
                    daemon=True,
                )
                with _light_main():
                    worker.start()
                theirs.close()
                self._pipes.append(ours)
                self._workers.append(worker)
            for i in range(len(self._workers)):
                self._receive(i, _START_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    def _send(self, i: int, message: bytes) -> None:
        try:
            self._pipes[i].send_bytes(message)
        except (BrokenPipeError, ConnectionResetError):
            self._died(i)

    def _receive(self, i: int, timeout: float | None) -> Any:
        pipe = self._pipes[i]
        try:
            if timeout is not None and not pipe.poll(timeout):
                raise EnvironmentFailed(
                    f"{self._workers[i].name} ({self._config.name}) did not answer within {timeout:g} s "
                    "(env.step_timeout)."
                )
            message = pipe.recv_bytes()
        except (EOFError, ConnectionResetError):
            self._died(i)
        if message == NOTHING:
            return None
        kind, events = message[:1], pickle.loads(message[1:])  # from our own worker
        if kind == REFUSED:
            _, error_type, text = events
            raise error_type(text)
        if kind == FAILED:
            index, text = events
            last = text.rstrip().splitlines()[-1]
            error = EnvironmentFailed(f"environment {index} ({self._config.name}) raised {last}")
            error.add_note(text)
            raise error
        return events

    def _died(self, i: int) -> None:
        self._workers[i].join(5)
        raise EnvironmentFailed(
            f"{self._workers[i].name} ({self._config.name}): the worker ended with exit code "
            f"{self._workers[i].exitcode}."
        )

    def _all(self, message: bytes, timeout: float | None = None) -> list[Any]:
        for i in range(len(self._pipes)):
            self._send(i, message)
        return [self._receive(i, timeout) for i in range(len(self._pipes))]

    def set_level(self, level: int) -> None:
        self._all(LEVEL + pickle.dumps(level))

    def reset(self) -> Obs:
        self._all(RESET)
        return self._arrays.obs

    def step(self, actions: np.ndarray) -> StepResult:
        arrays = self._arrays
        arrays.action[...] = actions
        finals: list[tuple[int, Any]] = []
        episodes: list[Episode] = []
        for events in self._all(STEP, self._timeout):
            if events is not None:
                finals += events[0]
                episodes += events[1]
        return StepResult(arrays.obs, arrays.reward, arrays.terminated, arrays.truncated, finals, episodes)

    def capture(self) -> list[dict[str, Any]]:
        return [state for block in self._all(CAPTURE) for state in block]

    def restore(self, states: list[dict[str, Any]]) -> tuple[Obs, list[int]]:
        for i, block in enumerate(self._blocks):
            self._send(i, RESTORE + pickle.dumps(states[block.start : block.stop]))
        lost = [row for i in range(len(self._pipes)) for row in self._receive(i, None)]
        return self._arrays.obs, lost

    def close(self) -> None:
        atexit.unregister(self.close)
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send_bytes(CLOSE)
        for pipe, worker in zip(self._pipes, self._workers, strict=True):
            worker.join(1)
            if worker.is_alive():
                worker.kill()
                worker.join()
            pipe.close()
        self._pipes, self._workers = [], []


@contextlib.contextmanager
def _light_main() -> Any:
    """Spawned processes import the parent's main module again: spare them ours, which they do not need."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    ours = spec is not None and spec.name.split(".")[0] == "lit_rl"
    if not ours:
        yield
        return
    file = main.__dict__.pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        main.__spec__ = spec
        if file is not None:
            main.__file__ = file
