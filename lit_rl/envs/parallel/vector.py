"""Environments in worker processes: a few processes, each stepping a block of environments, the trainer's among them.

Arrays go through shared memory, and so does what is said in every step; a pipe per worker carries what is rare:
finished episodes, last observations, captured states, errors. What a worker writes to standard error goes on to that of
the trainer, who remembers the end of it.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import pickle
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.curriculum.assignment import Assignment
from lit_rl.curriculum.levels import Level
from lit_rl.envs.block import Block, copy_obs
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.failures import EnvironmentLost, Restart, Restarts
from lit_rl.envs.parallel.carried import carry
from lit_rl.envs.parallel.handle import Worker
from lit_rl.envs.parallel.layout import (
    AGAIN,
    ANEW,
    ASSIGN,
    CAPTURE,
    CLOSE,
    FAILED,
    IDLE,
    LOST,
    NOTHING,
    REFUSED,
    RESET,
    RESTORE,
    STEP,
    Layout,
)
from lit_rl.envs.parallel.losses import losses, raised, signal_name, stderr_of
from lit_rl.envs.parallel.worker import Task
from lit_rl.envs.raw import OwnSpaces
from lit_rl.envs.slot import Slot
from lit_rl.envs.vector import Grade, StepResult
from lit_rl.errors import ConfigError
from lit_rl.ops.tree import Obs, tree_map

_START_TIMEOUT_S = 120.0
_NO_START = "did not start"
_NO_ANSWER = "did not answer"


class _GaveUp(Exception):
    """A worker lost an environment that must not be made anew; `losses` are those of its step, in order."""

    def __init__(self, losses: list[tuple[int, EnvironmentLost]]) -> None:
        super().__init__()
        self.losses = losses


class AsyncVectorEnv:
    """Steps blocks of environments in worker processes, in parallel.

    What an environment does is the same to the bit as in `SyncVectorEnv`: both run the same `Block`.

    Args:
        config: how to make an environment.
        run_seed: the run's seed.
        indices: environment indices of this rank.
        n_workers: processes, each with an equal share of the environments (up to one more or less).
        observation_space: of one environment.
        action_space: of one environment.
        stream: which family of seeds the episodes take.
        levels: of the run's curriculum; empty without one.
        shares: whether this process steps a share as well, as large as a worker's. An environment that ends its process
            then ends this one, and none may be made anew.
        watches: whether this process and the workers watch each other's counters while they wait.
    """

    grade: Grade = "exact"
    own_streams = False
    why = ""

    def __init__(
        self,
        config: EnvConfig,
        run_seed: int,
        indices: range,
        n_workers: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        stream: str = "episodes",
        levels: Sequence[Level] = (),
        shares: bool = False,
        watches: bool = False,
    ) -> None:
        assert not (shares and config.on_env_crash == "restart")
        self.offset, self.n_envs = indices.start, len(indices)
        self.observation_space, self.action_space = observation_space, action_space
        self.own_spaces = OwnSpaces(observation_space, action_space)
        self._config = config
        self._assignment: Assignment | None = None
        self._restarts = Restarts(config)
        layout = Layout.allocate(self.n_envs, observation_space, action_space, config.action_masks)
        self._arrays = layout.arrays()
        processes = min(n_workers + shares, self.n_envs)
        bounds = np.linspace(0, self.n_envs, processes + 1).astype(int).tolist()
        parts = [range(start, stop) for start, stop in itertools.pairwise(bounds)]
        self._own_positions = parts.pop(0) if shares else range(0)
        carried = carry(config)
        self._tasks = [
            Task(layout, part, config, run_seed, self.offset, stream, levels, os.getpid(), carried, watches)
            for part in parts
        ]
        self._make_slot = partial(Slot, config, run_seed, stream=stream, levels=levels)
        self._own = Block({}, self._arrays)
        self._workers: list[Worker] = []
        # Before multiprocessing's own exit handler, which would ask workers politely that ignore being asked.
        atexit.register(self.close)
        try:
            for task in self._tasks:
                self._workers.append(Worker(task))
            self._own = self._own_block()
            for worker in self._workers:
                self._receive_first_start(worker)
        except BaseException:
            self.close()
            raise

    def _own_block(self) -> Block:
        """The share of this process."""
        slots: dict[int, Slot] = {}
        try:
            for i in self._own_positions:
                slots[i] = self._make_slot(self.offset + i)
        except BaseException:
            for slot in slots.values():
                slot.close()
            raise
        return Block(slots, self._arrays)

    def _send(self, worker: Worker, message: bytes) -> None:
        try:
            worker.line.send(message)
        except OSError:
            raise self._lost(worker) from None

    def _receive_first_start(self, worker: Worker) -> None:
        try:
            self._receive_start(worker)
        except EnvironmentLost as error:
            script = getattr(sys.modules["__main__"], "__file__", None)
            if worker.process.exitcode != 1 or script is None or getattr(error, "__notes__", []):
                raise
            raise ConfigError(  # before it could say anything itself
                f"env.backend: worker processes import {script} again, and that failed; put what starts the run under "
                "`if __name__ == '__main__':`, or use backend: sync."
            ) from None

    def _receive_start(self, worker: Worker) -> None:
        """Until its environments are made."""
        self._receive(worker, _START_TIMEOUT_S, _NO_START)

    def _receive(self, worker: Worker, timeout: float | None = None, what: str = _NO_ANSWER) -> Any:
        timeout = self._config.step_timeout if timeout is None else timeout
        try:
            if timeout is None:
                worker.line.wait()
            else:
                self._wait(worker, timeout, what)
            message = worker.line.receive()
        except (EOFError, OSError):
            raise self._lost(worker) from None
        if message == NOTHING:
            return None
        kind, events = message[:1], pickle.loads(message[1:])  # from our own worker
        if kind == LOST:
            raise _GaveUp(losses(events))
        if kind == REFUSED:
            raise raised(*events)
        if kind == FAILED:
            said = events.rstrip().splitlines()[-1]
            raise raised(EnvironmentLost, f"{self._who(worker)} raised {said.rstrip('.')}.", [events])
        return events

    def _wait(self, worker: Worker, timeout: float, what: str) -> None:
        """Until it answers.

        Raises:
            EnvironmentLost: no environment of it got on for `timeout` seconds; the worker has been killed.
        """
        first = worker.positions.start
        progress, since = self._arrays.progress[first], time.monotonic()
        key = " (env.step_timeout)" if what == _NO_ANSWER else ""
        while not worker.line.wait(min(timeout / 4, 1.0)):
            if self._arrays.progress[first] != progress:
                progress, since = self._arrays.progress[first], time.monotonic()
            elif time.monotonic() - since >= timeout:
                worker.process.kill()
                worker.process.join()
                when = f"within {timeout:g} s{key}{self._place(worker)}"
                text = f"{self._who(worker)} {what} {when}; its worker was killed."
                raise raised(EnvironmentLost, text, stderr_of(worker))

    def _lost(self, worker: Worker) -> EnvironmentLost:
        worker.process.join(2)
        code = worker.process.exitcode
        if code is None:
            worker.process.kill()
            worker.process.join()
            how = "closed its pipe and was killed"
        elif code < 0:
            how = f"was killed by {signal_name(-code)}"
        else:
            how = f"ended with exit code {code}"
        text = f"{self._who(worker)}: the worker process {how}{self._place(worker)}."
        return raised(EnvironmentLost, text, stderr_of(worker))

    def _who(self, worker: Worker) -> str:
        """The environment that a worker was busy with, or all of its environments."""
        at, positions = int(self._arrays.at_work[worker.positions.start]), worker.positions
        if at != IDLE or len(positions) == 1:
            return f"environment {self.offset + max(at, positions.start)} ({self._config.name})"
        first, last = self.offset + positions.start, self.offset + positions.stop - 1
        return f"environments {first} to {last} ({self._config.name})"

    def _place(self, worker: Worker) -> str:
        at = int(self._arrays.at_work[worker.positions.start])
        if at == IDLE:
            return " between two steps"
        episode = int(self._arrays.episode[at])
        return "" if episode < 0 else f" in episode {episode}"

    def _all(self, message: bytes) -> list[Any]:
        for worker in self._workers:
            self._send(worker, message)
        return [self._receive(worker) for worker in self._workers]

    def begin_again(self) -> None:
        """Make all environments again, as if nothing had been done with them."""
        self._all(AGAIN)
        self._own.close()
        self._own = self._own_block()
        if self._assignment is not None:
            self.assign(self._assignment)

    def assign(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._own.assign(assignment)
        self._all(ASSIGN + pickle.dumps(assignment))

    @property
    def levels(self) -> np.ndarray:
        return self._arrays.level

    @property
    def masks(self) -> np.ndarray | None:
        return self._arrays.mask

    def reset(self) -> Obs:
        for worker in self._workers:
            self._send(worker, RESET)
        self._own.begin()
        for worker in self._workers:
            self._receive(worker)
        return self._arrays.obs

    def rest(self, resting: np.ndarray) -> None:
        self._arrays.rest(resting)

    def step(self, actions: np.ndarray) -> StepResult:
        arrays, restarts = self._arrays, self._restarts
        arrays.action[...] = actions
        arrays.allowed[0] = restarts.allowed
        result = StepResult(arrays.obs, arrays.reward, arrays.terminated, arrays.truncated, [], [])
        before = tree_map(np.copy, arrays.obs) if restarts.wanted else None
        lost: dict[int, EnvironmentLost] = {}
        for number, worker in enumerate(self._workers):
            try:
                self._send(worker, STEP)
            except EnvironmentLost as error:
                lost[number] = error
        if self._own_positions:
            result.finals, result.episodes = self._own.step(arrays.action, restarts.allowed)
        for number, worker in enumerate(self._workers):
            try:
                events = None if number in lost else self._receive(worker)
            except EnvironmentLost as error:
                lost[number] = error
            except _GaveUp as gave_up:
                restarts.count_all(gave_up.losses)  # which raises: they are more than were allowed
                raise
            if number in lost:
                self._cut_off(number, lost[number], before, result)
            elif events is not None:
                result.finals += events[0]
                result.episodes += events[1]
                result.restarts += restarts.count_all(losses(events[2]))
        return result

    def _cut_off(self, number: int, error: EnvironmentLost, before: Any, result: StepResult) -> None:
        """A worker was lost in a step: all its episodes end before it, whatever the worker had done of it."""
        result.restarts += self._replace(number, error)
        for i in self._workers[number].positions:
            result.reward[i], result.terminated[i], result.truncated[i] = 0.0, False, True
            result.finals.append((i, copy_obs(before, i)))

    def _replace(self, number: int, error: EnvironmentLost) -> list[Restart]:
        """A new worker in the place of a lost one, its environments in their next episodes.

        Raises:
            EnvironmentLost: `error`, or that of an environment that cannot begin in it, if there must be no more.
        """
        restarts: list[Restart] = []
        while True:
            restart = Restart(tuple(self._tasks[number].positions), str(error))
            self._restarts.count(restart, error)
            restarts.append(restart)
            try:
                worker = self._begin_worker(number)
                self._send(worker, ANEW + pickle.dumps(self._restarts.allowed))
                gone = losses(self._receive(worker))
                break
            except EnvironmentLost as again:
                error = again
            except _GaveUp as gave_up:
                gone = gave_up.losses  # more than are allowed: counting them raises
                break
        return restarts + self._restarts.count_all(gone)

    def settle(self) -> list[Restart]:
        restarts = []
        for number, worker in enumerate(self._workers):
            if not worker.process.is_alive():
                restarts += self._replace(number, self._lost(worker))
        self._restarts.iteration_ended()
        return restarts

    def capture(self) -> list[dict[str, Any]]:
        of_workers = self._all(CAPTURE)
        return self._own.capture() + [state for block in of_workers for state in block]

    def restore(self, states: list[dict[str, Any]]) -> tuple[Obs, list[int]]:
        for number in range(len(self._workers)):
            self._ask_to_restore(number, states)
        lost = self._own.restore(states[: len(self._own_positions)])
        for number in range(len(self._workers)):
            lost += self._restored(number, states)
        return self._arrays.obs, lost

    def _ask_to_restore(self, number: int, states: list[dict[str, Any]]) -> None:
        worker = self._workers[number]
        self._send(worker, RESTORE + pickle.dumps(states[worker.positions.start : worker.positions.stop]))

    def _restored(self, number: int, states: list[dict[str, Any]]) -> list[int]:
        """Positions that a worker could not bring back; an episode that ends or hangs it is not played again."""
        while True:
            worker = self._workers[number]
            try:
                lost: list[int] = self._receive(worker)
                return lost
            except EnvironmentLost as error:
                at = int(self._arrays.at_work[worker.positions.start])
                if at == IDLE or states[at].get("give_up"):
                    raise
                said = f"the episode in flight could not be played again and is given up: {error}"
                print(f"WARNING: {said}", file=sys.stderr, flush=True)
                states[at] = {**states[at], "give_up": True}
                self._begin_worker(number)
                self._ask_to_restore(number, states)

    def _begin_worker(self, number: int) -> Worker:
        """Start a new worker in the place of one; its environments are made and assigned as the others."""
        self._workers[number].end(0)
        self._arrays.at_work[self._tasks[number].positions.start] = IDLE
        worker = self._workers[number] = Worker(self._tasks[number])
        self._receive_start(worker)
        if self._assignment is not None:
            self._send(worker, ASSIGN + pickle.dumps(self._assignment))
            self._receive(worker)
        return worker

    def close(self) -> None:
        atexit.unregister(self.close)
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.line.send(CLOSE)
        patience = time.monotonic() + 1.0  # for all of them together
        for worker in self._workers:
            worker.end(max(patience - time.monotonic(), 0.0))
        self._workers = []
        self._own.close()
        self._own = Block({}, self._arrays)
