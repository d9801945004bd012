"""Finding out that a rank is gone or stands still, so that the others leave instead of waiting for ever.

A rank that dies closes its connections, and whoever waits for it learns so from the network. One that stands still is
found by its heartbeat: every rank counts once a second in a small store that all share. Rank 0 looks after all, the
others after rank 0. A heart that does not beat is no proof: native code that holds Python's lock stops it too. So what
the system says of the process counts first, where it runs on the same machine; then patience.
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
from dataclasses import asdict
from typing import Any

from torch.distributed import Store  # type: ignore[attr-defined]

from lit_rl.ranks.peers import Peer

BEAT_S = 1.0
_MEETING_BEAT_S = 0.2
"""Before all have met."""
SILENCE_S = 15.0
"""The system is asked about a rank whose heart has not beaten for this long."""
PRESENT_S = 3.0
"""A rank that has come to the meeting and is silent for longer has left it again."""
_GRACE_S = 5.0
"""For the main thread to leave by itself, once the failure is known."""


class Watch:
    """The heartbeats of all ranks, as one of them sees them: from their meeting to the end of the run.

    Args:
        store: shared by all ranks.
        rank: of this process.
        size: how many there are.
        patience_s: how long a rank may be silent that cannot be seen, or does nothing.
        on_loss: called before this process is ended because another is lost.
    """

    def __init__(self, store: Store, rank: int, size: int, patience_s: float, on_loss: Callable[[], None]) -> None:
        self._store, self._rank, self._size = store, rank, size
        self._patience_s, self._on_loss = patience_s, on_loss
        self._stopped = threading.Event()
        self._watched = [0] if rank else list(range(1, size))
        self._seen = dict.fromkeys(self._watched, 0)
        self._heard: dict[int, float] = {}
        self._cpu: dict[int, int | None] = {}
        self._name = json.dumps(asdict(Peer.own()))
        self.peers: list[Peer] = []
        """The processes of all ranks, once they have met."""
        self.missing: list[int] = []
        """Ranks that have not come yet, as rank 0 sees it."""
        self.failure: dict[str, Any] | None = None
        """What a rank said before it left: `rank`, `text`, `code`."""
        self.asked: tuple[str, float] | None = None
        """A stop signal that came to any rank, and when this one has heard of it."""
        self.has_saved: Callable[[], bool] = lambda: False
        """Says whether there is a checkpoint that the run can be resumed from."""
        self._known = threading.Event()
        self._store.set(f"name {rank}", self._name)
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._beat, self._judge)]
        for thread in self._threads:
            thread.start()
        atexit.register(self.stop)

    # -- beating ---------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        try:
            while not self._stopped.wait(BEAT_S if self.peers else _MEETING_BEAT_S):
                self._store.add(f"beat {self._rank}", 1)
                for peer in self._watched:
                    count = self._store.add(f"beat {peer}", 0)
                    if count != self._seen[peer]:
                        self._seen[peer], self._heard[peer] = count, time.monotonic()
                        self._cpu.pop(peer, None)
                self._ask()
                if not self.peers:
                    self._meet()
        except Exception:  # the store is gone, and whoever serves it
            if not self._stopped.is_set():
                self._learn({"rank": 0, "text": "is gone", "code": 1})

    def ask(self, signal: str) -> None:
        """Let all ranks know of a stop signal that came to this one."""
        with contextlib.suppress(Exception):
            self._store.set("signal", signal)
            self._store.add("asked", 1)

    def _ask(self) -> None:
        if self.asked is None and self._store.add("asked", 0):
            self.asked = self._store.get("signal").decode(), time.monotonic()
        if self.failure is None and self._store.add("failed", 0):
            self._learn(json.loads(self._store.get("failure")))

    def _meet(self) -> None:
        """Look whether all have come. Rank 0 says so, and who they are."""
        if self._store.get(f"name {self._rank}").decode() != self._name:
            other = Peer(**json.loads(self._store.get(f"name {self._rank}")))
            text = f"is also {other}: two runs meet at one MASTER_ADDR and MASTER_PORT, or it was started twice"
            self._learn({"rank": self._rank, "text": text, "code": 2})
        elif self._rank:
            if self._store.check(["all"]):
                self._begin([Peer(**each) for each in json.loads(self._store.get("all"))])
            elif self._store.check(["missing"]):
                self.missing = json.loads(self._store.get("missing"))
        else:
            now = time.monotonic()
            here = [peer for peer, heard in self._heard.items() if now - heard < PRESENT_S]
            missing = [rank for rank in self._watched if rank not in here]
            if missing != self.missing:
                self._store.set("missing", json.dumps(missing))
            self.missing = missing
            if not missing:
                peers = [Peer(**json.loads(self._store.get(f"name {rank}"))) for rank in range(self._size)]
                self._store.set("all", json.dumps([asdict(peer) for peer in peers]))
                self._begin(peers)

    def _begin(self, peers: list[Peer]) -> None:
        now = time.monotonic()
        self._heard = dict.fromkeys(self._watched, now)
        self.peers = peers

    # -- judging ---------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        before, grace_s = time.monotonic(), _GRACE_S
        while not self._stopped.wait(BEAT_S):
            now = time.monotonic()
            if now - before > BEAT_S + 3.0 and self.peers:  # this process stood still itself: nobody is to blame
                self._heard = dict.fromkeys(self._watched, now)
            before = now
            if self.failure is None and self.peers:
                for peer in self._watched:
                    verdict = self._verdict(peer, now - self._heard.get(peer, now))
                    if verdict is not None:
                        self.fail(peer, verdict, 1)
                        grace_s = BEAT_S  # its connections are whole: the main thread will hear nothing
                        break
            if self.failure is not None and not self._stopped.wait(grace_s):
                self._leave()

    def _verdict(self, rank: int, silence: float) -> str | None:
        """Why a rank is lost, if it is."""
        if silence < min(SILENCE_S, self._patience_s):
            return None
        peer = self.peers[rank]
        state = peer.state
        if state == "gone":
            return "is gone"
        if state == "stopped":
            return f"is stopped and has not been heard of for {silence:.0f} s"
        if silence < self._patience_s:
            return None
        before, self._cpu[rank] = self._cpu.get(rank), peer.cpu
        if state == "there" and (before is None or before != self._cpu[rank]):
            return None  # it computes, or that will be seen in a second
        return f"has not been heard of for {silence:.0f} s (ranks.patience_s)"

    def _learn(self, failure: dict[str, Any]) -> None:
        if self.failure is None:
            self.failure = failure
            self._known.set()

    def fail(self, rank: int, text: str, code: int) -> None:
        """Report to all ranks that one has failed, this one or another; the first report counts."""
        self._learn({"rank": rank, "text": text, "code": code})
        reporter = threading.Thread(target=self._report, args=(json.dumps(self.failure),), daemon=True)
        reporter.start()
        reporter.join(2.0)  # the store stands still where the process does that serves it

    def _report(self, failure: str) -> None:
        with contextlib.suppress(Exception):
            if self._store.add("failed", 1) == 1:
                self._store.set("failure", failure)

    def why(self) -> dict[str, Any] | None:
        """What is known of a failure, once a connection has broken: word of it, a process that has ended, or a heart
        that has stopped beating."""
        for _ in range(int(2 * BEAT_S / 0.1)):
            if self._known.wait(0.1):
                return self.failure
            gone = [rank for rank, peer in enumerate(self.peers) if rank != self._rank and peer.state == "gone"]
            if gone:
                with contextlib.suppress(Exception):
                    self._ask()  # whoever leaves with an error, or because of another, has said so before
                self.fail(gone[0], "is gone", 1)
                return self.failure
        with contextlib.suppress(Exception):  # the store is gone: the heartbeat finds out
            before = self._beats()
            time.sleep(2.5 * BEAT_S)
            others = [rank for rank, peer in enumerate(self.peers) if rank != self._rank and peer.state is None]
            now = self._beats()
            gone = [rank for rank in others if now[rank] == before[rank]]
            if gone:
                self.fail(gone[0], "is gone", 1)
        self._known.wait(2 * BEAT_S)
        return self.failure

    def _beats(self) -> list[int]:
        return [self._store.add(f"beat {peer}", 0) for peer in range(self._size)]

    # -- leaving ---------------------------------------------------------------------------------------------------

    def name(self, rank: int) -> str:
        """A rank as messages call it."""
        return f"rank {rank} ({self.peers[rank]})" if self.peers else f"rank {rank}"

    def speaker(self, failed: int) -> int:
        """The rank that reports the failure of another."""
        return min({0, 1} - {failed})

    @property
    def resumable(self) -> str:
        """What becomes of the run, in a sentence."""
        return RESUMABLE if self.has_saved() else NOTHING_SAVED

    def _leave(self) -> None:
        """The main thread waits for somebody who is gone: end this process."""
        assert self.failure is not None
        if self._rank == self.speaker(self.failure["rank"]):
            line = f"error: {self.name(self.failure['rank'])} {self.failure['text']}; all ranks leave. "
            with contextlib.suppress(Exception):  # nobody may be listening
                print(f"{line}{self.resumable}", file=sys.stderr, flush=True)
        self._on_loss()
        os._exit(int(self.failure["code"]))

    def stop(self) -> None:
        """Look no more. A thread that is still in the store when the interpreter ends would abort the process."""
        self._stopped.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(3.0)


RESUMABLE = "The run can be resumed from its last checkpoint (mode: resume)."
NOTHING_SAVED = "Nothing had been saved yet."
