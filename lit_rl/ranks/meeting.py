"""How the ranks of a run find each other: each waits for all, says for whom, and can be told to stop.

Everything that may stand still (reaching the store, the connections of all with all) is done in a thread, so that the
main one hears signals, counts the time and sees who is missing.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from lit_rl.errors import EXIT_STOPPED, ConfigError, LitRLError
from lit_rl.ranks.config import RanksConfig
from lit_rl.ranks.peers import state_of
from lit_rl.ranks.watch import Watch

T = TypeVar("T")
ENDLESS = timedelta(days=30)
"""The heartbeat knows whether a rank is lost: no connection gives up before it does."""
_LOOK_S = 0.1
_STOPPED_S = 4.0
"""A rank leaves when the process that has started it was stopped for so long."""
_FIRST_LINE_S = 5.0
_MOST_BETWEEN_S = 600.0
_places: dict[tuple[str, int], Any] = {}
"""Stores by address, as this process has opened them: a script's next run meets where its last one did."""
_met: Counter[tuple[str, int]] = Counter()
"""How many runs of this process have met there."""


class NotBegun(LitRLError):
    """A stop signal came before the run had begun."""

    exit_code = EXIT_STOPPED


def free_place(host: str) -> Any:
    """A store at a port that is free, served from now on: nobody can take the port before the ranks have met there."""
    return TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=ENDLESS)


class Meeting:
    """One process at the place where the ranks of a run meet.

    Args:
        rank: of this process.
        local_rank: among those of this machine. The first speaks for them.
        size: how many ranks there are.
        host, port: where rank 0 is reached.
        children: processes of ranks that this one has started, the first of them being rank `rank` + 1.
        parent: the process that has started this one as a rank.
        asked: the stop signal that has come, if one has.
        config: how long to wait.
        on_loss: called before this process is ended because another is lost.
        place: the store, where it is served already.
    """

    def __init__(
        self,
        rank: int,
        local_rank: int,
        size: int,
        host: str,
        port: int,
        children: list[Any],
        parent: int | None,
        asked: Callable[[], str | None],
        config: RanksConfig,
        on_loss: Callable[[], None],
        place: Any = None,
    ) -> None:
        self._rank, self._speaks, self._size, self._host, self._port = rank, local_rank == 0, size, host, port
        self._children, self._parent, self._asked, self._config = children, parent, asked, config
        self._on_loss = on_loss
        self._watch: Watch | None = None
        self._begin = time.monotonic()
        self._next_line = self._begin + _FIRST_LINE_S
        self._moving = self._begin
        """When the process that has started this one was last seen not to be stopped."""
        self._store: Any = None
        if place is not None:
            _places[host, port] = place

    def hold(self) -> Watch:
        """Wait until all ranks are there.

        Raises:
            NotBegun: a signal came to one of them.
            ConfigError: the place is taken.
            LitRLError: they did not come in time, or one has failed.
        """
        at = (self._host, self._port)
        if at not in _places:
            _places[at] = self.patiently(self._open)
        self._store = PrefixStore(f"run_{_met[at]}", _places[at])
        _met[at] += 1
        self._watch = Watch(
            PrefixStore("watch", self._store), self._rank, self._size, self._config.patience_s, self._on_loss
        )
        while not self._watch.peers:
            self._look()
            time.sleep(_LOOK_S)
        return self._watch

    def connect(self, backend: str, device: Any, prepare: Callable[[], None]) -> Any:
        """Connect all with all; returns the group for host data.

        Args:
            backend: for data of the networks' device.
            device: that device; `None` for the CPU.
            prepare: what the thread that connects has to do first.
        """

        def work() -> Any:
            prepare()
            store = PrefixStore("group", self._store)
            dist.init_process_group(
                backend, store=store, rank=self._rank, world_size=self._size, timeout=ENDLESS, device_id=device
            )
            return dist.new_group(backend="gloo", timeout=ENDLESS)

        return self.patiently(work)

    def patiently(self, work: Callable[[], T]) -> T:
        """Do `work` in a thread, and look around meanwhile."""
        done: list[T] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                done.append(work())
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_LOOK_S)
            self._look()
        if failed:
            raise failed[0]
        return done[0]

    # -- the place ---------------------------------------------------------------------------------------------------

    def _open(self) -> Any:
        """The store at which all meet; rank 0 serves it, unless torchrun does."""
        of_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        try:
            store = TCPStore(
                self._host,
                self._port,
                is_master=self._rank == 0 and not of_torchrun,
                wait_for_workers=False,
                timeout=ENDLESS,
                multi_tenant=of_torchrun,
            )
        except RuntimeError as error:
            if "EADDRINUSE" in str(error) or "address already in use" in str(error):
                raise ConfigError(
                    f"MASTER_PORT {self._port} is taken on this machine by another program; give all ranks another one."
                ) from None
            first = str(error).splitlines()[0]
            raise ConfigError(f"MASTER_ADDR {self._host}, MASTER_PORT {self._port}: {first}") from None
        attempt = f"/lit_rl/attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
        return PrefixStore(attempt, store) if of_torchrun else store

    # -- looking around ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Leave where waiting has no end, and say who is waited for."""
        now = time.monotonic()
        signal = self._asked()
        if signal is not None:
            self._leave(NotBegun(f"stopped by {signal} before the run had begun."), f"was stopped by {signal}")
        failure = None if self._watch is None else self._watch.failure
        if failure is not None:
            self._follow(failure)
        for i, child in enumerate(self._children):
            if child.poll() is not None:
                self._child_ended(self._rank + 1 + i, child.returncode)
        if self._parent is not None:
            if os.getppid() != self._parent:
                os._exit(1)
            if state_of(self._parent) != "stopped":
                self._moving = now
            elif now - self._moving > _STOPPED_S:  # nobody else could say so: it would wait for itself
                error = LitRLError(f"process {self._parent}, which started the ranks, is stopped; all ranks leave.")
                error.reported = self._rank != 1
                raise error
        if now - self._begin > self._config.start_timeout_s and (self._watch is None or not self._watch.peers):
            who = self._awaited()
            limit = f"{self._config.start_timeout_s:g} s (ranks.start_timeout_s)"
            error = LitRLError(f"{who} did not come within {limit}; all ranks leave, and nothing has been written.")
            self._leave(error, f"waited in vain for {who}")
        if now >= self._next_line:
            self._next_line = now + min(2 * (now - self._begin), _MOST_BETWEEN_S)
            if self._speaks and self._parent is None:
                with contextlib.suppress(Exception):  # nobody may be listening
                    text = f"waiting for {self._awaited()} since {now - self._begin:.0f} s; a stop signal ends it"
                    print(text, file=sys.stderr, flush=True)

    def _awaited(self) -> str:
        """Who is waited for, in words."""
        if self._watch is None:
            return f"rank 0 at {self._host}:{self._port} (MASTER_ADDR, MASTER_PORT)"
        if self._watch.peers:
            return "the connections between all ranks"
        names = []
        for rank in self._watch.missing or [0]:
            i = rank - self._rank - 1
            child = self._children[i] if 0 <= i < len(self._children) else None
            state = "" if child is None or state_of(child.pid) != "stopped" else ", which is stopped"
            names.append(f"rank {rank}" if child is None else f"rank {rank} (process {child.pid}{state})")
        return f"{', '.join(names)} of {self._size} ranks"

    def _child_ended(self, rank: int, code: int) -> NoReturn:
        """A rank that this process has started is gone before all had met."""
        signal = -code if code < 0 else 0
        if code == EXIT_STOPPED:
            self._leave(NotBegun(f"rank {rank} was stopped before the run had begun."), f"rank {rank} was stopped")
        said = f"was killed by signal {signal}" if signal else f"ended with exit code {code}"
        error = LitRLError(f"rank {rank} {said} before all had connected.")
        error.exit_code = code if code > 0 else 1
        self._leave(error, f"had its rank {rank} end early")

    def _follow(self, failure: dict[str, Any]) -> NoReturn:
        """Another rank leaves, or two are one."""
        own = failure["rank"] == self._rank
        error = LitRLError(f"rank {failure['rank']} {failure['text']}; all ranks leave before the run has begun.")
        error.exit_code, error.agreed = failure["code"], not own
        error.reported = not own and not (self._speaks and self._parent is None)
        raise error

    def _leave(self, error: LitRLError, text: str) -> NoReturn:
        if self._watch is not None:
            self._watch.fail(self._rank, text, error.exit_code)
            if self._rank == 0 and self._size > 1 + len(self._children):
                time.sleep(0.5)  # the store goes with this process: let the others read why
        error.agreed = True
        raise error
