"""Hearing a stop signal while the main thread waits in native code, as one rank does for another."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

from lit_rl.process import STOP_SIGNALS


@contextlib.contextmanager
def alert(tell: Callable[[str], None]) -> Iterator[None]:
    """Call `tell` with the name of every stop signal, from a thread, as soon as it comes.

    Python's own handlers run in the main thread, between two of its instructions: that may be long after.
    """
    names = {int(number): number.name for number in STOP_SIGNALS}
    ours, signals = socket.socketpair()
    signals.setblocking(False)

    def listen() -> None:
        with contextlib.suppress(OSError):
            while numbers := ours.recv(64):
                for name in (names[number] for number in numbers if number in names):
                    tell(name)

    before = signal.set_wakeup_fd(signals.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        signals.close()
        thread.join(3.0)
        ours.close()
