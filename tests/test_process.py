"""Standard streams that nobody reads, that are closed, on a disk that is full; signals that are ignored."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from lit_rl.callbacks.stopping import StopRequest
from lit_rl.errors import ConfigError, StorageError, chain, of_the_disk
from lit_rl.process import STOP_SIGNALS, Outlet, guarded
from tests.helpers.cli import environment


def unread_pipe() -> io.TextIOWrapper:
    """A stream whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w")


@pytest.mark.parametrize("optional", [False, True])
def test_a_reader_that_has_gone_is_no_error_in_any_thread(optional: bool) -> None:
    stream = unread_pipe()
    outlet: Any = Outlet(stream, optional)
    failed: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(1000):
                print("x" * 100, file=outlet, flush=True)
            outlet.writelines(["a", "b"])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []
    os.write(stream.fileno(), b"whoever else has this number")
    stream.close()


class Refusing(io.StringIO):
    """A stream whose every write is refused."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def write(self, text: str) -> int:
        raise OSError(self._number, os.strerror(self._number))

    def flush(self) -> None:
        raise OSError(self._number, os.strerror(self._number))


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.EBADF, errno.ECONNRESET, errno.EAGAIN])
def test_who_does_not_read_ends_no_run(number: int) -> None:
    outlet: Any = Outlet(Refusing(number), optional=False)
    print("text", file=outlet, flush=True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_an_error_of_standard_output_and_none_of_standard_error(number: int) -> None:
    with pytest.raises(OSError, match=r"\[Errno"):
        Outlet(Refusing(number), optional=False).write("text")
    Outlet(Refusing(number), optional=True).write("text")


def test_in_a_process_of_the_users_it_is_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = unread_pipe()
    monkeypatch.setattr(sys, "stdout", stream)
    with guarded():
        print("text", flush=True)
        with guarded():
            print("text", flush=True)
    assert sys.stdout is stream
    stream.close()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_number_of_a_closed_stream(closed: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "from lit_rl.process import own\n"
        "own()\n"
        f"with open({str(tmp_path / 'file')!r}, 'w') as file:\n"
        "    os.write(1, b'out'); os.write(2, b'err'); print('text', flush=True); print('text', file=sys.stderr)\n"
        "    file.write(str(file.fileno()))\n"
    )
    command = ["sh", "-c", f"exec {sys.executable} {script} {closed}"]
    assert subprocess.run(command, check=False, env=environment(), capture_output=True).returncode == 0
    assert int((tmp_path / "file").read_text()) > 2


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        request = StopRequest()
        with request.listening():
            request.install()
            os.kill(os.getpid(), signal.SIGHUP)
            assert request.signal is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert request.signal is signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_no_signal_changes_what_is_decided() -> None:
    request = StopRequest()
    with request.listening():
        request.decide(75)
        for number in (*STOP_SIGNALS, *STOP_SIGNALS):
            os.kill(os.getpid(), number)
    assert request.signal is None


def test_beside_the_main_thread_there_are_no_signals_to_listen_to() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    failed: list[BaseException] = []

    def listen() -> None:
        try:
            with StopRequest().listening():
                pass
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert failed == []
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_a_ring_of_causes_has_an_end() -> None:
    """As an error of another thread makes, which is raised again and again."""
    first, second, third = OSError("first"), ValueError("second"), KeyError("third")
    first.__context__, second.__cause__, third.__context__ = second, third, first
    assert list(chain(first)) == [first, second, third]
    assert list(chain(None)) == []


def test_what_the_disk_says_is_one_line_and_a_bug_stays_one() -> None:
    full = of_the_disk(OSError(errno.ENOSPC, "No space left on device", "/some/file"))
    assert str(full) == "cannot write /some/file: No space left on device."
    assert isinstance(full, StorageError)
    assert full.exit_code == 74
    for bug in (FileNotFoundError(errno.ENOENT, "gone", "f"), BrokenPipeError(errno.EPIPE, "pipe"), ConfigError("x")):
        assert of_the_disk(bug) is None
