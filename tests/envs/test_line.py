"""Messages beside a pipe: all arrive, in order, whoever sleeps and whoever is awake, and an end is seen."""

import multiprocessing as mp
import platform
import threading
import time

import pytest

from lit_rl.envs.parallel import line as module
from lit_rl.envs.parallel.line import NUMBERS, TRAINER, WORKER, Line, can_watch


def pair(counters: bool) -> tuple[Line, Line]:
    ours, theirs = mp.Pipe()
    numbers = mp.RawArray("q", 2 * NUMBERS) if counters else None
    return Line(ours, numbers, NUMBERS, TRAINER), Line(theirs, numbers, NUMBERS, WORKER)


def answer(line: Line, pauses: float) -> None:
    while True:
        line.wait()
        message = line.receive()
        if message == b"x":
            return
        if pauses:
            time.sleep(pauses)
        line.send(message if len(message) == 1 else message[::-1])


@pytest.mark.parametrize("counters", [True, False])
@pytest.mark.parametrize("watch_s", [0.0, 1e-3])
@pytest.mark.parametrize(("here", "there"), [(0, 0), (2e-3, 0), (0, 2e-3)])
def test_every_message_arrives_and_is_answered(counters, watch_s, here, there, monkeypatch):
    """With no time to watch, every wait sleeps, and every one is woken."""
    monkeypatch.setattr(module, "_WATCH_S", watch_s)
    trainer, worker = pair(counters)
    thread = threading.Thread(target=answer, args=(worker, there))
    thread.start()
    for i in range(60):
        message = b"s" if i % 3 else b"long" + str(i).encode()
        trainer.send(message)
        if here:
            time.sleep(here)
        assert trainer.wait(5)
        assert trainer.receive() == (message if len(message) == 1 else message[::-1])
    trainer.send(b"x")
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize("counters", [True, False])
def test_a_wait_ends_in_time_and_with_the_other_side(counters):
    trainer, worker = pair(counters)
    assert not trainer.wait(0.02)
    worker.pipe.close()
    with pytest.raises((EOFError, OSError)):
        trainer.wait(5) and trainer.receive()


def test_a_message_that_comes_after_the_end_of_a_wait_is_not_lost():
    trainer, worker = pair(True)
    assert not trainer.wait(0.02)
    worker.send(b"n")
    assert trainer.wait(0)
    assert trainer.receive() == b"n"
    worker.send(b"and more")
    assert trainer.wait(5)
    assert trainer.receive() == b"and more"


def test_counters_are_watched_where_there_are_cores_for_it_and_writes_stay_in_order(monkeypatch):
    for machine, expected in (("x86_64", True), ("AMD64", True), ("aarch64", False)):
        monkeypatch.setattr(platform, "machine", lambda machine=machine: machine)
        assert can_watch(2, 2) is expected
        assert not can_watch(3, 2)
