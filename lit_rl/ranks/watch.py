"""Finding out that a rank is gone or stands still, so that the others leave instead of waiting for ever.

A rank that dies closes its connections, and whoever waits for it learns so from the network. One that stands still
(stopped, swapped out, hung in a driver) is found by its heartbeat: every rank counts once a second in a small store
that rank 0 holds. Rank 0 looks after all, the others after rank 0.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]

BEAT_S = 1.0
SILENCE_S = 15.0
"""A rank whose heart has not beaten for this long is lost."""
_GRACE_S = 5.0
"""For the main thread to leave by itself, once the failure is known."""


class Watch:
    """The heartbeats of all ranks, as one of them sees them.

    Args:
        store: shared by all ranks; served by rank 0.
        names: of all ranks, in order.
        rank: of this process.
        on_loss: called before this process is ended because another is lost.
    """

    def __init__(self, store: TCPStore, names: list[str], rank: int, on_loss: Callable[[], None]) -> None:
        self._store, self._names, self._rank, self._on_loss = store, names, rank, on_loss
        self._stopped = threading.Event()
        self._seen = dict.fromkeys(self._watched(), -1)
        self._heard = {peer: time.monotonic() for peer in self._watched()}
        self._round = time.monotonic()
        self.failure: dict[str, Any] | None = None
        """What a rank said before it left: `rank`, `text`, `code`."""
        self._known = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._beat, self._judge)]
        for thread in self._threads:
            thread.start()
        atexit.register(self.stop)

    def _watched(self) -> list[int]:
        return [0] if self._rank else list(range(1, len(self._names)))

    def _beat(self) -> None:
        try:
            while not self._stopped.wait(BEAT_S):
                self._store.add(f"beat {self._rank}", 1)
                for peer in self._watched():
                    count = self._store.add(f"beat {peer}", 0)
                    if count != self._seen[peer]:
                        self._seen[peer], self._heard[peer] = count, time.monotonic()
                if self.failure is None and self._store.add("failed", 0):
                    self._learn(json.loads(self._store.get("failure")))
                self._round = time.monotonic()
        except Exception:  # the store is gone, and rank 0 with it
            if not self._stopped.is_set():
                self._learn({"rank": 0, "text": "is gone", "code": 1})

    def _judge(self) -> None:
        before = time.monotonic()
        while not self._stopped.wait(BEAT_S):
            now = time.monotonic()
            if now - before > BEAT_S + 3.0:  # this process stood still itself (Ctrl-Z): nobody is to blame
                self._heard = dict.fromkeys(self._heard, now)
                self._round = now
            before = now
            if self.failure is None:
                silent = [peer for peer, heard in self._heard.items() if now - heard > SILENCE_S]
                if self._rank and now - self._round > SILENCE_S:
                    silent = [0]
                if silent:
                    self.fail(silent[0], f"has not been heard of for {SILENCE_S:g} s", 1)
            if self.failure is not None and not self._stopped.wait(_GRACE_S):
                self._leave()

    def _learn(self, failure: dict[str, Any]) -> None:
        if self.failure is None:
            self.failure = failure
            self._known.set()

    def fail(self, rank: int, text: str, code: int) -> None:
        """Report to all ranks that one has failed, this one or another; the first report counts."""
        self._learn({"rank": rank, "text": text, "code": code})
        reporter = threading.Thread(target=self._report, args=(json.dumps(self.failure),), daemon=True)
        reporter.start()
        reporter.join(2.0)  # the store stands still where rank 0 does

    def _report(self, failure: str) -> None:
        with contextlib.suppress(Exception):
            if self._store.add("failed", 1) == 1:
                self._store.set("failure", failure)

    def why(self) -> dict[str, Any] | None:
        """What is known of a failure, once a connection has broken: word of it, or a heart that has stopped beating."""
        if not self._known.wait(2 * BEAT_S):
            with contextlib.suppress(Exception):  # the store is gone: the heartbeat finds out
                before = self._beats()
                time.sleep(2.5 * BEAT_S)
                gone = [
                    peer for peer, beats in enumerate(self._beats()) if beats == before[peer] and peer != self._rank
                ]
                if gone:
                    self.fail(gone[0], "is gone", 1)
            self._known.wait(2 * BEAT_S)
        return self.failure

    def _beats(self) -> list[int]:
        return [self._store.add(f"beat {peer}", 0) for peer in range(len(self._names))]

    def name(self, rank: int) -> str:
        """A rank as messages call it."""
        return f"rank {rank} ({self._names[rank]})"

    def _leave(self) -> None:
        """The main thread waits for somebody who is gone: end this process."""
        assert self.failure is not None
        if self._rank == min({0, 1} - {self.failure["rank"]}):
            line = f"error: {self.name(self.failure['rank'])} {self.failure['text']}; all ranks leave. "
            print(f"{line}{RESUMABLE}", file=sys.stderr, flush=True)
        self._on_loss()
        os._exit(int(self.failure["code"]))

    def stop(self) -> None:
        """Look no more. A thread that is still in the store when the interpreter ends would abort the process."""
        self._stopped.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(3.0)


RESUMABLE = "The run can be resumed from its last checkpoint (mode: resume)."


def open_store(host: str, port: int, serve: bool) -> TCPStore:
    """The store of the heartbeats; rank 0 serves it, on a free port if `port` is 0."""
    return TCPStore(host, port, is_master=serve, wait_for_workers=False, timeout=timedelta(seconds=60))
