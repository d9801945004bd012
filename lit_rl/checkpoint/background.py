"""Work that goes on beside training: one piece at a time, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """Does one piece of work at a time beside the main thread, which starts it and hears what it met with.

    A process that ends in the ordinary way waits for the work that is going on; one that is killed does not.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin with `work`. Where the system has no thread to give, it is done before this returns.

        Raises:
            Exception: what the work before met with; `work` has not begun then.
        """
        self.wait()
        thread = threading.Thread(target=self._do, args=(work,), name="checkpoint", daemon=False)
        try:
            thread.start()
        except RuntimeError:
            work()
        else:
            self._thread = thread

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error

    @property
    def has_ended(self) -> bool:
        """Whether work that was begun is over, and nobody has asked yet how it went."""
        return self._thread is not None and not self._thread.is_alive()

    def wait(self) -> None:
        """Return once nothing is going on any more.

        Raises:
            Exception: what the work met with. It is raised once.
        """
        if self._thread is None:
            return
        self._thread.join()
        self._thread, error, self._error = None, self._error, None
        if error is not None:
            raise error
