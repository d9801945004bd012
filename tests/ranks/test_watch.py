"""A rank that computes, one that stands still, one that has ended: told apart by what the system says of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from lit_rl.ranks.peers import Peer, state_of
from lit_rl.ranks.watch import SILENCE_S, Watch


@pytest.fixture
def watch() -> Iterator[Watch]:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=10))
    watch = Watch(store, 0, 2, patience_s=60.0, on_loss=lambda: None)
    yield watch
    watch.stop()


def peer(code: str) -> tuple[subprocess.Popen[bytes], Peer]:
    process = subprocess.Popen([sys.executable, "-S", "-c", code])
    own = Peer.own()
    return process, Peer(process.pid, own.host, own.machine)


def test_what_the_system_says_counts_before_patience(watch: Watch) -> None:
    process, other = peer("import time; time.sleep(60)")
    try:
        watch.peers = [Peer.own(), other]
        assert watch._verdict(1, SILENCE_S - 1) is None
        assert watch._verdict(1, SILENCE_S + 1) is None, "its heart is silent, but it is there"
        os.kill(process.pid, signal.SIGSTOP)
        while state_of(process.pid) != "stopped":
            time.sleep(0.01)
        assert "is stopped" in str(watch._verdict(1, SILENCE_S + 1))
        os.kill(process.pid, signal.SIGKILL)
        while state_of(process.pid) != "gone":
            time.sleep(0.01)
        assert watch._verdict(1, SILENCE_S + 1) == "is gone"
    finally:
        process.kill()
        process.wait()


def test_patience_ends_for_one_that_does_nothing_and_not_for_one_that_computes(watch: Watch) -> None:
    idle, first = peer("import time; time.sleep(60)")
    busy, second = peer("while True: pass")
    try:
        for other, lost in ((first, True), (second, False)):
            watch.peers = [Peer.own(), other]
            watch._cpu.clear()
            verdicts = []
            for _ in range(3):
                verdicts.append(watch._verdict(1, 61.0))
                time.sleep(0.5)
            assert verdicts[0] is None
            assert (verdicts[-1] is not None) is lost
            assert not lost or "ranks.patience_s" in str(verdicts[-1])
    finally:
        for process in (idle, busy):
            process.kill()
            process.wait()


def test_one_on_another_machine_is_lost_when_patience_is(watch: Watch) -> None:
    watch.peers = [Peer.own(), Peer(1, "elsewhere", "another boot")]
    assert watch._verdict(1, 59.0) is None
    watch._verdict(1, 61.0)
    assert "has not been heard of for 62 s" in str(watch._verdict(1, 62.0))
