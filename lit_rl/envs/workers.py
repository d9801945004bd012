"""Environments in worker processes: a few processes, each stepping a block of environments.

Arrays go through shared memory; a pipe per worker carries one byte a step, and what is rare: finished episodes, last
observations, captured states, errors. A worker ignores the signals of the terminal and the scheduler, for the trainer
decides when to stop, and it ends when the trainer is gone. It notes in shared memory which environment is at work, so
that one which takes its process down is known; what it writes to standard error goes on to that of the trainer, who
remembers the end of it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import faulthandler
import itertools
import multiprocessing as mp
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import numpy as np
from gymnasium import spaces

from lit_rl.curriculum.levels import Level
from lit_rl.data.episode import Episode
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentLost, Restart, Restarts
from lit_rl.envs.slot import Slot
from lit_rl.envs.vector import Grade, StepResult, copy_row, write_row
from lit_rl.errors import LitRLError
from lit_rl.ops.tree import Obs, tree_map

E = TypeVar("E", bound=LitRLError)
STEP, RESET, CAPTURE, RESTORE, LEVEL, ANEW, CLOSE = b"s", b"r", b"c", b"b", b"l", b"a", b"x"
NOTHING, EVENTS, FAILED, REFUSED = b"n", b"e", b"f", b"u"
_START_TIMEOUT_S = 120.0
_NO_START = "did not start"
_NO_ANSWER = "did not answer"
_IDLE = -1
_LAST_WORDS = 2000
"""Characters of a lost worker's standard error that are told with the error."""


@dataclass
class _Layout:
    """The shared arrays, as raw shared memory that can be handed to a spawned process."""

    obs: Any
    action: Any
    reward: Any
    terminated: Any
    truncated: Any
    episode: Any
    at_work: Any
    progress: Any
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
            episode=context.RawArray(ctypes.c_int64, [-1] * n_envs),
            at_work=context.RawArray(ctypes.c_int64, [_IDLE] * n_envs),
            progress=context.RawArray(ctypes.c_int64, n_envs),
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
            np.frombuffer(self.episode, dtype=np.int64),
            np.frombuffer(self.at_work, dtype=np.int64),
            np.frombuffer(self.progress, dtype=np.int64),
        )


@dataclass
class _Arrays:
    """Row by row what belongs to an environment, and at the first row of a worker's block what belongs to the worker.

    Args:
        episode: index of the episode going on.
        at_work: row of the environment that the worker is busy with, or `_IDLE`. One number of a worker.
        progress: grows with everything an environment has done. One number of a worker.
    """

    obs: Obs
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    episode: np.ndarray
    at_work: np.ndarray
    progress: np.ndarray


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


@dataclass
class _Task:
    """What a worker is there for.

    Args:
        layout: the shared arrays.
        rows: its rows in them.
        config: how to make an environment.
        run_seed: the run's seed.
        offset: global index of row 0.
        stream: which family of seeds the episodes take.
        levels: of the run's curriculum.
        parent: process id of the trainer.
    """

    layout: _Layout
    rows: range
    config: EnvConfig
    run_seed: int
    offset: int
    stream: str
    levels: Sequence[Level]
    parent: int


class _Block:
    """A worker's environments: what each command of the trainer does to them."""

    def __init__(self, task: _Task) -> None:
        self._arrays = task.layout.arrays()
        self._rows = task.rows
        self._restarting = task.config.on_env_crash == "restart"
        self._slots: dict[int, Slot] = {}
        for row in task.rows:
            self._note(row)
            slot = Slot(task.config, task.run_seed, task.offset + row, task.stream, task.levels)
            slot.tick = self._tick
            self._slots[row] = slot
        self.idle()

    def _note(self, row: int) -> None:
        self._arrays.at_work[self._rows.start] = row
        self._tick()

    def _tick(self) -> None:
        self._arrays.progress[self._rows.start] += 1

    def idle(self) -> None:
        """All is done that was asked for."""
        self._arrays.at_work[self._rows.start] = _IDLE

    def do(self, command: bytes, payload: bytes) -> Any:
        """What there is to tell the trainer, or `None`."""
        if command == STEP:
            return self._step()
        if command == CAPTURE:
            return [self._captured(row) for row in self._rows]
        if command == RESTORE:
            return self._restore(pickle.loads(payload))  # from our own parent process
        if command == LEVEL:
            for slot in self._slots.values():
                slot.curriculum_level = pickle.loads(payload)
        else:
            self._begin(anew=command == ANEW)
        return None

    def _step(self) -> tuple[list[tuple[int, Any]], list[Episode], list[Any]] | None:
        arrays, start = self._arrays, self._rows.start
        actions = arrays.action[start : self._rows.stop].copy()
        finals: list[tuple[int, Any]] = []
        episodes: list[Episode] = []
        lost: list[Any] = []
        for row, slot in self._slots.items():
            self._note(row)
            try:
                obs, arrays.reward[row], terminated, truncated, final = slot.step(actions[row - start])
            except EnvironmentLost as error:
                if not self._restarting:
                    raise
                lost.append((row, str(error), getattr(error, "__notes__", [])))
                final = copy_row(arrays.obs, row)
                obs, arrays.reward[row], terminated, truncated = slot.restart(), 0.0, False, True
            write_row(arrays.obs, row, obs)
            arrays.terminated[row] = terminated
            arrays.truncated[row] = truncated
            if final is not None:
                arrays.episode[row] = slot.episode
                finals.append((row, final))
                episodes += slot.take_finished()
        return (finals, episodes, lost) if finals else None

    def _begin(self, anew: bool) -> None:
        """Begin the next episode everywhere; in the place of a worker that was lost, `anew`, the one after its own."""
        for row, slot in self._slots.items():
            self._note(row)
            if anew:
                slot.episode = int(self._arrays.episode[row])
                self._arrays.episode[row] += 1  # before it begins: one that cannot begin is not tried twice
            write_row(self._arrays.obs, row, slot.begin())
            self._arrays.episode[row] = slot.episode
            slot.take_finished()

    def _captured(self, row: int) -> dict[str, Any]:
        self._note(row)
        return self._slots[row].capture().to_plain()

    def _restore(self, states: list[dict[str, Any]]) -> list[int]:
        lost = []
        for row, state in zip(self._rows, states, strict=True):
            self._note(row)
            obs, exact = self._slots[row].restore_plain(state)
            write_row(self._arrays.obs, row, obs)
            self._arrays.episode[row] = self._slots[row].episode
            if not exact:
                lost.append(row)
        return lost

    def close(self) -> None:
        """End the environments."""
        for slot in self._slots.values():
            slot.close()


def _serve(pipe: Connection, words: Connection, task: _Task) -> None:
    """A worker's whole life."""
    _protect(task.parent)
    os.dup2(words.fileno(), 2)
    words.close()
    faulthandler.enable()
    try:
        block = _Block(task)
        pipe.send_bytes(NOTHING)
        while True:
            message = pipe.recv_bytes()
            if message == CLOSE:
                block.close()
                return
            events = block.do(message[:1], message[1:])
            block.idle()
            pipe.send_bytes(NOTHING if events is None else EVENTS + pickle.dumps(events))
    except (EOFError, BrokenPipeError):  # the trainer is gone
        return
    except LitRLError as error:
        pipe.send_bytes(REFUSED + pickle.dumps((type(error), str(error), getattr(error, "__notes__", []))))
    except BaseException:
        pipe.send_bytes(FAILED + pickle.dumps(traceback.format_exc()))


class _Words:
    """What a worker writes to standard error: passed on, and its end remembered.

    Args:
        source: the end of the pipe to read from.
    """

    def __init__(self, source: Connection) -> None:
        self._source = source
        self._last = b""
        self._thread = threading.Thread(target=self._pass_on, name="lit_rl last words", daemon=True)
        self._thread.start()

    def _pass_on(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._source.fileno(), 65536):
                self._last = (self._last + data)[-_LAST_WORDS:]
                with contextlib.suppress(OSError):
                    os.write(2, data)
        self._source.close()

    def last(self) -> str:
        """The end of it, once the worker has ended."""
        self._thread.join(1)
        return self._last.decode(errors="replace").strip()


class _Worker:
    """A worker process as the trainer sees it.

    Args:
        task: what it is there for.
    """

    def __init__(self, task: _Task) -> None:
        self.rows = task.rows
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        ours, words = context.Pipe(duplex=False)
        first, last = task.offset + task.rows.start, task.offset + task.rows.stop - 1
        self.process = context.Process(
            target=_serve, args=(theirs, words, task), name=f"lit_rl environments {first} to {last}", daemon=True
        )
        with _light_main():
            self.process.start()
        theirs.close()
        words.close()
        self.words = _Words(ours)

    def end(self, patience_s: float) -> None:
        """Wait a while for it to end, then end it."""
        self.process.join(patience_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


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
        stream: str = "episodes",
        levels: Sequence[Level] = (),
    ) -> None:
        self.offset, self.n_envs = rows.start, len(rows)
        self.observation_space, self.action_space = observation_space, action_space
        self._config = config
        self._level: int | None = None
        self._restarts = Restarts(config)
        layout = _Layout.allocate(self.n_envs, observation_space, action_space)
        self._arrays = layout.arrays()
        bounds = np.linspace(0, self.n_envs, min(n_workers, self.n_envs) + 1).astype(int).tolist()
        self._tasks = [
            _Task(layout, range(start, stop), config, run_seed, self.offset, stream, levels, os.getpid())
            for start, stop in itertools.pairwise(bounds)
        ]
        self._workers: list[_Worker] = []
        # Before multiprocessing's own exit handler, which would ask workers politely that ignore being asked.
        atexit.register(self.close)
        try:
            for task in self._tasks:
                self._workers.append(_Worker(task))
            for worker in self._workers:
                self._receive_start(worker)
        except BaseException:
            self.close()
            raise

    def _send(self, worker: _Worker, message: bytes) -> None:
        try:
            worker.pipe.send_bytes(message)
        except OSError:
            raise self._lost(worker) from None

    def _receive_start(self, worker: _Worker) -> None:
        """Until its environments are made."""
        self._receive(worker, _START_TIMEOUT_S, _NO_START)

    def _receive(self, worker: _Worker, timeout: float | None = None, what: str = _NO_ANSWER) -> Any:
        timeout = self._config.step_timeout if timeout is None else timeout
        try:
            if timeout is not None:
                self._wait(worker, timeout, what)
            message = worker.pipe.recv_bytes()
        except (EOFError, OSError):
            raise self._lost(worker) from None
        if message == NOTHING:
            return None
        kind, events = message[:1], pickle.loads(message[1:])  # from our own worker
        if kind == REFUSED:
            raise _raised(*events)
        if kind == FAILED:
            said = events.rstrip().splitlines()[-1]
            raise _raised(EnvironmentLost, f"{self._who(worker)} raised {said.rstrip('.')}.", [events])
        return events

    def _wait(self, worker: _Worker, timeout: float, what: str) -> None:
        """Until it answers.

        Raises:
            EnvironmentLost: no environment of it got on for `timeout` seconds; the worker has been killed.
        """
        first = worker.rows.start
        progress, since = self._arrays.progress[first], time.monotonic()
        key = " (env.step_timeout)" if what == _NO_ANSWER else ""
        while not worker.pipe.poll(min(timeout / 4, 1.0)):
            if self._arrays.progress[first] != progress:
                progress, since = self._arrays.progress[first], time.monotonic()
            elif time.monotonic() - since >= timeout:
                worker.process.kill()
                worker.process.join()
                when = f"within {timeout:g} s{key}{self._place(worker)}"
                text = f"{self._who(worker)} {what} {when}; its worker was killed."
                raise _raised(EnvironmentLost, text, _last_words(worker))

    def _lost(self, worker: _Worker) -> EnvironmentLost:
        worker.process.join(2)
        code = worker.process.exitcode
        if code is None:
            worker.process.kill()
            worker.process.join()
            how = "closed its pipe and was killed"
        elif code < 0:
            how = f"was killed by {_signal_name(-code)}"
        else:
            how = f"ended with exit code {code}"
        text = f"{self._who(worker)}: the worker process {how}{self._place(worker)}."
        return _raised(EnvironmentLost, text, _last_words(worker))

    def _who(self, worker: _Worker) -> str:
        """The environment that a worker was busy with, or all of its environments."""
        at, rows = int(self._arrays.at_work[worker.rows.start]), worker.rows
        if at != _IDLE or len(rows) == 1:
            return f"environment {self.offset + max(at, rows.start)} ({self._config.name})"
        return f"environments {self.offset + rows.start} to {self.offset + rows.stop - 1} ({self._config.name})"

    def _place(self, worker: _Worker) -> str:
        at = int(self._arrays.at_work[worker.rows.start])
        if at == _IDLE:
            return " between two steps"
        episode = int(self._arrays.episode[at])
        return "" if episode < 0 else f" in episode {episode}"

    def _all(self, message: bytes) -> list[Any]:
        for worker in self._workers:
            self._send(worker, message)
        return [self._receive(worker) for worker in self._workers]

    def set_level(self, level: int) -> None:
        self._level = level
        self._all(LEVEL + pickle.dumps(level))

    def reset(self) -> Obs:
        self._all(RESET)
        return self._arrays.obs

    def step(self, actions: np.ndarray) -> StepResult:
        arrays = self._arrays
        arrays.action[...] = actions
        result = StepResult(arrays.obs, arrays.reward, arrays.terminated, arrays.truncated, [], [])
        before = tree_map(np.copy, arrays.obs) if self._restarts.wanted else None
        lost: dict[int, EnvironmentLost] = {}
        for i, worker in enumerate(self._workers):
            try:
                self._send(worker, STEP)
            except EnvironmentLost as error:
                lost[i] = error
        for i, worker in enumerate(self._workers):
            try:
                events = None if i in lost else self._receive(worker)
            except EnvironmentLost as error:
                lost[i] = error
            if i in lost:
                self._cut_off(i, lost[i], before, result)
            elif events is not None:
                result.finals += events[0]
                result.episodes += events[1]
                for row, text, notes in events[2]:
                    restart = Restart((row,), text)
                    self._restarts.count(restart, _raised(EnvironmentLost, text, notes))
                    result.restarts.append(restart)
        return result

    def _cut_off(self, i: int, error: EnvironmentLost, before: Any, result: StepResult) -> None:
        """A worker was lost in a step: all its episodes end before it, whatever the worker had done of it."""
        result.restarts += self._replace(i, error)
        for row in self._workers[i].rows:
            result.reward[row], result.terminated[row], result.truncated[row] = 0.0, False, True
            result.finals.append((row, copy_row(before, row)))

    def _replace(self, i: int, error: EnvironmentLost) -> list[Restart]:
        """A new worker in the place of a lost one, its environments in their next episodes.

        Raises:
            EnvironmentLost: `error`, if there must be none.
        """
        restarts: list[Restart] = []
        while True:
            restart = Restart(tuple(self._tasks[i].rows), str(error))
            self._restarts.count(restart, error)
            restarts.append(restart)
            self._workers[i].end(0)
            self._arrays.at_work[self._tasks[i].rows.start] = _IDLE
            worker = self._workers[i] = _Worker(self._tasks[i])
            try:
                self._receive_start(worker)
                if self._level is not None:
                    self._send(worker, LEVEL + pickle.dumps(self._level))
                    self._receive(worker)
                self._send(worker, ANEW)
                self._receive(worker)
                return restarts
            except EnvironmentLost as again:
                error = again

    def settle(self) -> list[Restart]:
        restarts = []
        for i, worker in enumerate(self._workers):
            if not worker.process.is_alive():
                restarts += self._replace(i, self._lost(worker))
        self._restarts.iteration_ended()
        return restarts

    def capture(self) -> list[dict[str, Any]]:
        return [state for block in self._all(CAPTURE) for state in block]

    def restore(self, states: list[dict[str, Any]]) -> tuple[Obs, list[int]]:
        for worker in self._workers:
            self._send(worker, RESTORE + pickle.dumps(states[worker.rows.start : worker.rows.stop]))
        lost = [row for worker in self._workers for row in self._receive(worker)]
        return self._arrays.obs, lost

    def close(self) -> None:
        atexit.unregister(self.close)
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.pipe.send_bytes(CLOSE)
        patience = time.monotonic() + 1.0  # for all of them together
        for worker in self._workers:
            worker.end(max(patience - time.monotonic(), 0.0))
        self._workers = []


def _raised(kind: type[E], text: str, notes: Sequence[str]) -> E:
    """An error with its notes."""
    error = kind(text)
    for note in notes:
        error.add_note(note)
    return error


def _last_words(worker: _Worker) -> list[str]:
    words = worker.words.last()
    return [f"last words of the worker:\n{words}"] if words else []


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


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
