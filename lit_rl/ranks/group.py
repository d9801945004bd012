"""What ranks say to each other. Everything is gathered in rank order, so that all ranks come to the same bits."""

from __future__ import annotations

import contextlib
import os
import pickle
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from lit_rl.errors import LitRLError, of_the_disk
from lit_rl.ranks.board import Board, Lost
from lit_rl.ranks.share import rows_of
from lit_rl.ranks.watch import BEAT_S, Watch

T = TypeVar("T")
_SMALLEST_BOARD = 1 << 16
"""Bytes of a row."""


class PeerFailed(LitRLError):
    """Another rank has failed, and this one exits with it."""

    kind: type[LitRLError] = LitRLError
    """What kind of error the other has."""


def caused_by(error: LitRLError, kind: type[LitRLError]) -> bool:
    """Whether an error is of a kind, here or on the rank that failed."""
    return isinstance(error, kind) or (isinstance(error, PeerFailed) and issubclass(error.kind, kind))


class Ranks:
    """The ranks of one run, seen from one of them.

    Host data (numbers, arrays, records) goes over gloo, whatever device the networks are on; gradients go over the
    strategy's own process group. A rank that is alone says nothing to anybody, at no cost.

    Args:
        rank: of this process.
        size: how many there are.
        local_size: how many of them are on this machine.
        watch: over the heartbeats of all.
        host: the group for host data.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, local_size: int = 1, watch: Watch | None = None, host: Any = None
    ) -> None:
        self.rank, self.size, self.local_size = rank, size, local_size
        self._watch, self._host = watch, host
        self._board: Board | None = None
        self._has_board: bool | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0: the one that writes, logs and prints."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether one process trains the run."""
        return self.size == 1

    def rows(self, n_envs: int) -> range:
        """Global indices of this rank's environments."""
        return rows_of(self.rank, self.size, n_envs)

    # -- host data -----------------------------------------------------------------------------------------------

    def gather(self, value: T) -> list[T]:
        """Every rank's value, in rank order, on all ranks."""
        if self.alone:
            return [value]
        data = np.frombuffer(pickle.dumps(value), dtype=np.uint8)
        lengths = [int(n[0]) for n in self._gather_tensors(torch.tensor([len(data)]), self._host)]
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[: len(data)] = torch.from_numpy(data.copy())
        pieces = self._gather_tensors(padded, self._host)
        # From our own ranks, over their own connection.
        return [pickle.loads(piece[:n].numpy().tobytes()) for piece, n in zip(pieces, lengths, strict=True)]

    def gather_rows(self, array_N: np.ndarray) -> np.ndarray:
        """Arrays of equal shape [N, ...] from all ranks as one [size * N, ...], in rank order."""
        if self.alone:
            return array_N
        rows = self._on_the_board(torch.from_numpy(np.ascontiguousarray(array_N)))
        if rows is not None:
            return torch.cat(rows).numpy()
        return torch.cat(self._gather_tensors(torch.from_numpy(np.ascontiguousarray(array_N)), self._host)).numpy()

    def broadcast(self, value: T) -> T:
        """Rank 0's value, on all ranks."""
        return self.gather([value] if self.is_first else [])[0][0]

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.gather(None)

    def _gather_tensors(self, tensor: Tensor, group: Any) -> list[Tensor]:
        pieces = [torch.empty_like(tensor) for _ in range(self.size)]
        try:
            dist.all_gather(pieces, tensor, group=group)
        except RuntimeError as error:
            raise self._lost(error) from None
        return pieces

    # -- device data ---------------------------------------------------------------------------------------------

    def sum_in_place(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over all ranks, the same to the bit on all."""
        if self.alone:
            return
        rows = self._on_the_board(tensor)
        if rows is not None:
            torch.add(rows[0], rows[1], out=tensor)
            for row in rows[2:]:
                tensor += row
            return
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:
            raise self._lost(error) from None

    def gather_tensor(self, tensor: Tensor) -> Tensor:
        """Tensors of equal shape from all ranks, stacked in rank order: [size, ...]."""
        if self.alone:
            return tensor[None]
        rows = self._on_the_board(tensor)
        if rows is not None:
            return torch.stack(rows)
        return torch.stack(self._gather_tensors(tensor, None))

    # -- one machine ---------------------------------------------------------------------------------------------

    def _on_the_board(self, tensor: Tensor) -> list[Tensor] | None:
        """All ranks' tensors, in rank order, over memory that they share; `None` where there is none."""
        if self._has_board is False or tensor.device.type != "cpu" or not tensor.is_contiguous():
            return None
        needed = tensor.numel() * tensor.element_size()
        if self._board is None or self._board.capacity < needed:
            self._board = self._make_board(needed)
            self._has_board = self._board is not None
            if self._board is None:
                return None
        try:
            return self._board.exchange(tensor, self._somebody_is_gone)
        except Lost:
            raise self._lost(Lost("another rank is gone")) from None

    def _make_board(self, needed: int) -> Board | None:
        """Agree on a board; all ranks come here together, for they have exchanged the same until now."""
        capacity = max(1 << (needed - 1).bit_length(), _SMALLEST_BOARD)
        peers = [] if self._watch is None else self._watch.peers
        near = len(peers) == self.size and all(peer.state is not None for peer in peers)
        file = self.broadcast(Board.create(self.size, capacity) if self.is_first and near else None)
        board = None
        with contextlib.suppress(OSError):
            if file is not None and near:
                board = Board(file, self.rank, self.size, capacity)
        all_there = all(self.gather(board is not None))
        if file is not None and self.is_first:
            os.unlink(file)
        return board if all_there else None

    def _somebody_is_gone(self) -> bool:
        watch = self._watch
        return watch is None or watch.failure is not None or any(peer.state == "gone" for peer in watch.peers)

    # -- failures ------------------------------------------------------------------------------------------------

    def together(self, work: Callable[[], T]) -> T:
        """Do `work` on every rank; if it is refused on any, it fails on all, with the same exit code.

        Raises:
            LitRLError: this rank's own, or `PeerFailed` for that of the first other rank. One rank reports it.
        """
        if self.alone:
            return work()
        result: T | None = None
        own: LitRLError | None = None
        try:
            result = work()
        except LitRLError as error:
            own = error
        except OSError as error:
            own = of_the_disk(error)
            if own is None:
                raise
        failures = self.gather(None if own is None else (str(own), own.exit_code, type(own)))
        failed = next(((rank, *failure) for rank, failure in enumerate(failures) if failure is not None), None)
        if failed is None:
            return result  # type: ignore[return-value]
        first, text, code, kind = failed
        if own is None:
            own = PeerFailed(f"rank {first}: {text}")
            own.kind = kind
        own.exit_code, own.reported, own.agreed = code, first != self.rank, True
        raise own

    def first(self, work: Callable[[], T]) -> T:
        """Do `work` on rank 0 alone, and give its result to all; if it is refused, it fails on all."""
        done: list[T] = self.together(lambda: [work()] if self.is_first else [])
        return self.gather(done)[0][0]

    def tell_of(self, signal: str) -> None:
        """Let all ranks know of a stop signal that came to this one, before they talk to each other again."""
        if self._watch is not None:
            self._watch.ask(signal)

    def overdue(self, patience_s: float) -> str | None:
        """A stop signal that came to any rank, once it has waited for as long as something may go on."""
        asked = None if self._watch is None else self._watch.asked
        return None if asked is None or time.monotonic() - asked[1] < patience_s else asked[0]

    def resumable_if(self, has_saved: Callable[[], bool]) -> None:
        """How to find out whether there is a checkpoint that the run can be resumed from."""
        if self._watch is not None:
            self._watch.has_saved = has_saved

    def name(self, rank: int) -> str:
        """A rank as messages call it."""
        return f"rank {rank}" if self._watch is None else self._watch.name(rank)

    def _lost(self, error: BaseException) -> LitRLError:
        """Another rank is gone: what is known about it, as an error that one rank reports."""
        failure = None if self._watch is None else self._watch.why()
        if failure is None or self._watch is None:
            lost = PeerFailed(f"another rank is gone ({str(error).splitlines()[0]}); all ranks leave.")
            lost.exit_code = 1
            return lost
        peer = self._watch.name(failure["rank"])
        lost = PeerFailed(f"{peer} {failure['text']}; all ranks leave. {self._watch.resumable}")
        lost.exit_code = failure["code"]
        lost.reported = self.rank != self._watch.speaker(failure["rank"])
        return lost

    def fail(self, error: BaseException) -> None:
        """Report to the others that this rank exits with an error, before it does."""
        error = of_the_disk(error) or error
        if self._watch is not None and not isinstance(error, PeerFailed):
            if isinstance(error, LitRLError) and error.agreed:
                return
            text = str(error).splitlines()[0] if str(error) else ""
            code = error.exit_code if isinstance(error, LitRLError) else 1
            self._watch.fail(self.rank, f"failed: {type(error).__name__}: {text}".rstrip(": "), code)
            if self.is_first:
                time.sleep(2 * BEAT_S)  # the store goes with this process: let the others read why

    def explain(self, error: BaseException) -> LitRLError | None:
        """What is known of a failure elsewhere, where an error is what the network says of it."""
        if self._watch is None or isinstance(error, LitRLError) or not isinstance(error, RuntimeError):
            return None
        known = self._watch.failure
        elsewhere = known is not None and known["rank"] != self.rank and type(error) is RuntimeError
        return self._lost(error) if elsewhere or _of_the_network(error) else None

    def close(self) -> None:
        """Nothing more will be said. All ranks call it together."""
        if self._watch is None:
            return
        self.barrier()  # watched over: one may be lost here too
        self._watch.stop()
        self._watch = None
        dist.destroy_process_group()


def _of_the_network(error: RuntimeError) -> bool:
    """Whether a connection to another rank has broken, inside of what others do over them."""
    broken = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL")
    return isinstance(error, dist.DistError) or any(words in str(error) for words in broken)
