"""What ranks of one machine show each other on a board: every row, in order, whoever is late; and a loss is seen."""

import multiprocessing as mp
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from lit_rl.ranks import board as module
from lit_rl.ranks.board import Board, Lost

SIZE = 3


@pytest.fixture
def boards() -> Iterator[list[Board]]:
    file = Board.create(SIZE, 4096)
    assert file is not None
    yield [Board(file, rank, SIZE, 4096) for rank in range(SIZE)]
    os.unlink(file)


def together(work: Callable[[int], object]) -> None:
    failures: list[BaseException] = []

    def guarded(rank: int) -> None:
        try:
            work(rank)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(rank,)) for rank in range(SIZE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def row(rank: int, turn: int, size: int = 5) -> torch.Tensor:
    return torch.full((size,), float(100 * turn + rank))


@pytest.mark.parametrize("late", [None, 0, 2])
@pytest.mark.parametrize("watch_s", [0.0, 2e-3])
def test_all_ranks_see_all_rows_in_their_order(boards, late, watch_s, monkeypatch):
    monkeypatch.setattr(module, "_WATCH_S", watch_s)

    def work(rank: int) -> None:
        for turn in range(50):
            if rank == late:
                time.sleep(1e-3)
            shown = boards[rank].exchange(row(rank, turn), lambda: False)
            assert torch.equal(torch.stack(shown), torch.stack([row(r, turn) for r in range(SIZE)]))

    together(work)


def test_rows_may_have_any_shape_and_type(boards):
    def work(rank: int) -> None:
        for shown in (torch.ones(2, 3, dtype=torch.float64) * rank, torch.tensor([rank > 0, True]), torch.tensor(rank)):
            rows = boards[rank].exchange(shown, lambda: False)
            assert rows[rank].dtype is shown.dtype
            assert torch.equal(rows[rank], shown)
            assert len(rows) == SIZE

    together(work)


def test_one_that_does_not_come_is_asked_after_and_the_others_leave(boards):
    asked = []
    with pytest.raises(Lost):
        boards[0].exchange(row(0, 0), lambda: asked.append(time.monotonic()) or len(asked) == 2)
    assert len(asked) == 2


def _exchange(file: str, rank: int, results: object) -> None:
    board = Board(file, rank, 2, 1 << 16)
    total = torch.zeros(())
    for turn in range(300):
        total += sum(board.exchange(torch.full((1000,), float(turn + rank)), lambda: False)).sum()
    results.put(float(total))


def test_between_processes():
    context = mp.get_context("spawn")
    file = Board.create(2, 1 << 16)
    assert file is not None
    results = context.Queue()
    processes = [context.Process(target=_exchange, args=(file, rank, results)) for rank in range(2)]
    for process in processes:
        process.start()
    expected = float(sum(torch.full((1000,), float(2 * turn + 1)).sum() for turn in range(300)))
    assert [results.get(timeout=60) for _ in processes] == [expected, expected]
    for process in processes:
        process.join(10)
    os.unlink(file)


def test_no_place_in_memory_or_another_kind_of_processor_is_no_board(monkeypatch):
    monkeypatch.setattr(module, "writes_in_order", lambda: False)
    assert Board.create(2, 64) is None
    monkeypatch.undo()
    before = set(os.listdir("/dev/shm"))
    assert Board.create(2, 1 << 50) is None
    assert set(os.listdir("/dev/shm")) == before
    monkeypatch.setattr(module, "_DIRECTORY", "/nowhere")
    assert Board.create(2, 64) is None
