"""Work beside the main thread: one piece at a time, its errors are not lost, a process that ends waits for it."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from lit_rl.checkpoint.background import Background
from tests.helpers.cli import environment
from tests.helpers.saving import save

PATIENCE_S = 60.0


def test_the_next_piece_waits_for_the_one_before() -> None:
    background, let_go, order = Background(), threading.Event(), []

    def slow() -> None:
        assert let_go.wait(PATIENCE_S)
        order.append("first")

    background.start(slow)
    assert not background.has_ended
    threading.Timer(0.05, let_go.set).start()
    background.start(lambda: order.append("second"))
    background.wait()
    assert order == ["first", "second"]


def test_an_error_is_raised_once_by_who_waits_and_nothing_else_is_begun() -> None:
    background, done = Background(), []

    def fail() -> None:
        raise OSError("gone")

    background.start(fail)
    with pytest.raises(OSError, match="gone"):
        background.start(lambda: done.append(1))
    background.wait()
    assert done == []
    assert not background.has_ended


def test_where_there_is_no_thread_it_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    background, done = Background(), []
    background.start(lambda: done.append(threading.current_thread()))
    assert done == [threading.main_thread()]


def test_an_interpreter_that_ends_waits_for_it(tmp_path: Path) -> None:
    code = f"""
import pathlib, time
from lit_rl.checkpoint.background import Background

def work():
    time.sleep(0.3)
    pathlib.Path({str(tmp_path / "done")!r}).touch()

Background().start(work)
"""
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True, timeout=PATIENCE_S)
    assert (tmp_path / "done").exists()


def test_reading_back_beside_training_leaves_its_warnings_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filters of warnings are of the whole process."""
    inner, seen = torch.load, []

    def load(*args: Any, **kwargs: Any) -> Any:
        seen.append(warnings.filters)
        return inner(*args, **kwargs)

    monkeypatch.setattr(torch, "load", load)
    before = warnings.filters
    save(tmp_path, 1, beside=True)
    assert seen
    assert all(filters is before for filters in seen)
