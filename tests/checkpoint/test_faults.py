"""Faults in the middle of a save: whatever happens, a whole checkpoint is there, and the user is told.

The faults come from outside: `strace` kills or fails the process at its Nth system call, N going up until nothing is
left to fail; limits of the kernel; a small disk.
"""

from __future__ import annotations

import math
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.errors import EXIT_IO, DiskFull, NotFinite
from tests.helpers.saving import assert_whole, lightning_state, save
from tests.helpers.strace import CALLS, Outcome, forked, needs_strace, traced

KILLED = -9


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A directory with checkpoints at 1 and 2, as many as retention keeps."""
    directory = tmp_path / "before"
    save(directory, 1)
    save(directory, 2)
    return directory


class Attempts:
    """Saves at timestep 3, each in a copy of `before`, each with a fault of its own."""

    def __init__(self, before: Path, scratch: Path) -> None:
        self._before, self._scratch = before, scratch
        self.directory = scratch / "checkpoints"

    def __call__(self, *inject: str, beside: bool = False) -> Outcome:
        self._begin()
        return traced(lambda: save(self.directory, 3, beside=beside), self._scratch / "trace", *inject)

    def limited(self, work: Callable[[], None]) -> Outcome:
        """Do `work` in a process of its own, which may set itself limits."""
        self._begin()
        return forked(work, self._scratch / "trace")

    def _begin(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        shutil.copytree(self._before, self.directory, symlinks=True)

    def newest(self) -> int:
        """Timestep of the newest good checkpoint, which must be whole, and found without a complaint."""
        store = CheckpointStore(self.directory)
        found, complaints = store.newest_good()
        assert found is not None
        assert complaints == []
        assert_whole(found)
        return found.manifest.timesteps

    def names(self) -> list[str]:
        return sorted(os.listdir(self.directory))


@pytest.fixture
def attempt(before: Path, tmp_path: Path) -> Attempts:
    return Attempts(before, tmp_path / "scratch")


DONE = ["best", "last", "t0000000002-s001", "t0000000003-s001"]
UNTOUCHED = ["best", "last", "t0000000001-s001", "t0000000002-s001"]


@needs_strace
@pytest.mark.parametrize("tmpdir", [pytest.param(None, marks=pytest.mark.slow), "/dev/shm"])
def test_killed_at_any_system_call(
    attempt: Attempts, tmpdir: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rows 1 and 7: the newest is the old one or the new one; the next start clears what is left; TMPDIR is nothing."""
    if tmpdir is not None:
        if not Path(tmpdir).is_dir() or os.stat(tmpdir).st_dev == os.stat(tmp_path).st_dev:
            pytest.skip("no second filesystem for TMPDIR")
        monkeypatch.setenv("TMPDIR", tmpdir)
    calls = CALLS if tmpdir is None else ("fsync", "rename")
    seen = set()
    kills = 0
    for call in calls:
        number = 0
        while True:
            number += 1
            outcome = attempt(f"?{call}:signal=KILL:when={number}")
            assert outcome.code in (0, KILLED), outcome.error
            newest = attempt.newest()
            seen.add((newest, any(name.startswith(".staging") for name in attempt.names())))
            if outcome.code == 0:
                assert attempt.names() == DONE
                break
            kills += 1
            CheckpointStore(attempt.directory).clear_debris()
            save(attempt.directory, 3, segment=2)
            assert [name for name in attempt.names() if name.startswith(".")] == []
    assert kills > (50 if tmpdir is None else 5)
    assert {(2, True), (3, False), (3, True)} <= seen, "kills before, during and after the save"


@needs_strace
@pytest.mark.parametrize("call", ["write", "fsync", "rename", "symlink"])
def test_killed_at_any_call_of_a_write_beside_training(attempt: Attempts, call: str) -> None:
    """`strace` counts the calls of each thread by itself: those of the one that writes are all there are of these."""
    number, seen = 0, set()
    while True:
        number += 1
        outcome = attempt(f"{call}:signal=KILL:when={number}", beside=True)
        assert outcome.code in (0, KILLED), outcome.error
        seen.add(attempt.newest())
        if outcome.code == 0:
            break
        CheckpointStore(attempt.directory).clear_debris()
        save(attempt.directory, 3, segment=2)
        assert [name for name in attempt.names() if name.startswith(".")] == []
    assert attempt.names() == DONE
    assert number > {"write": 3, "fsync": 5, "rename": 1, "symlink": 1}[call]
    assert seen == ({3} if call == "symlink" else {2, 3})


@needs_strace
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_an_error_of_the_disk_beside_training_is_met_by_who_waits(attempt: Attempts, call: str) -> None:
    outcome = attempt(f"{call}:error=EIO:when=1", beside=True)
    assert outcome.code == EXIT_IO, outcome.error
    assert outcome.error.count("\n") == 0
    assert "Input/output error" in outcome.error
    assert attempt.newest() == 2
    assert [name for name in attempt.names() if "0000000003" in name] == []
    _no_second_fsync(outcome)


@needs_strace
def test_a_full_disk_is_pruned_beside_training(attempt: Attempts) -> None:
    outcome = attempt("write:error=ENOSPC:when=1", beside=True)
    assert outcome.code == 0, outcome.error
    assert "Deleted t0000000001-s001 and trying once more" in outcome.out
    assert attempt.names() == DONE
    assert attempt.newest() == 3


@needs_strace
@pytest.mark.parametrize(("call", "error"), [("fsync", "EIO"), ("write", "EIO"), ("rename", "EIO"), ("mkdir", "EROFS")])
def test_an_error_of_the_disk_at_any_call(attempt: Attempts, call: str, error: str) -> None:
    """Rows 4 and 6: code 74 and one line; the new files are discarded, and none is waited for twice."""
    number = failed = 0
    while True:
        number += 1
        outcome = attempt(f"{call}:error={error}:when={number}")
        if not any("(INJECTED)" in line for line in outcome.trace):
            break
        newest = attempt.newest()
        if outcome.code == 0:
            continue  # the test's own line on standard output, or a link's
        failed += 1
        assert outcome.code == EXIT_IO, outcome.error
        assert outcome.error.count("\n") == 0
        assert {"EIO": "Input/output error", "EROFS": "Read-only file system"}[error] in outcome.error
        assert str(attempt.directory) in outcome.error
        if newest == 2:
            assert [name for name in attempt.names() if "0000000003" in name] == []
        _no_second_fsync(outcome)
    assert failed >= {"fsync": 5, "write": 3, "rename": 1, "mkdir": 1}[call]


def _no_second_fsync(outcome: Outcome) -> None:
    failed = False
    for line in outcome.trace:
        if "fsync(" in line:
            assert not failed, "waited for again after a failure"
            failed = "(INJECTED)" in line


@needs_strace
def test_read_only_from_one_save_to_the_next(attempt: Attempts) -> None:
    """Row 6: every call that would change something is refused; the first one is an error at that save."""
    changing = ("mkdir", "rename", "symlink", "unlink", "unlinkat", "rmdir")
    outcome = attempt(*(f"{call}:error=EROFS" for call in changing))
    assert outcome.code == EXIT_IO
    assert "Read-only file system" in outcome.error
    assert attempt.names() == UNTOUCHED
    assert attempt.newest() == 2


@needs_strace
def test_a_full_disk_is_pruned_once_and_tried_once_more(attempt: Attempts) -> None:
    """Row 5: the first write fails; the oldest goes, which retention would have deleted, and the save succeeds."""
    outcome = attempt("write:error=ENOSPC:when=1")
    assert outcome.code == 0, outcome.error
    assert "No space left on device" in outcome.out
    assert "bytes needed" in outcome.out
    assert "Deleted t0000000001-s001 and trying once more" in outcome.out
    assert attempt.names() == DONE
    assert attempt.newest() == 3


@needs_strace
def test_a_disk_that_stays_full_stops_with_74(attempt: Attempts) -> None:
    outcome = attempt("fsync:error=ENOSPC:when=1+")
    assert outcome.code == EXIT_IO
    assert "No space left on device" in outcome.error
    assert attempt.newest() == 2


def test_a_limit_on_file_size_names_path_and_bytes(attempt: Attempts) -> None:
    """Row 5, without strace: the kernel writes a part, then says no (a short write first, then an error)."""

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        save(attempt.directory, 3)

    outcome = attempt.limited(work)
    assert outcome.code == EXIT_IO
    assert "lightning.ckpt: File too large, " in outcome.error
    assert "bytes needed" in outcome.error
    assert attempt.newest() == 2
    assert not any(name.startswith(".") for name in attempt.names())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_small_disk_fills_up(small_disk: Path) -> None:
    """Row 5 on a real disk: room for three checkpoints and not for four; then none for a large one."""
    directory = small_disk / "checkpoints"
    for timesteps in range(1, 8):
        save(directory, timesteps, keep_last=3)
    large = {**lightning_state(9), "more": torch.zeros(100_000)}
    with pytest.raises(DiskFull, match=r"lightning\.ckpt: No space left on device, 40\d,\d+ bytes needed"):
        save(directory, 9, keep_last=3, state=large)
    found, complaints = CheckpointStore(directory).newest_good()
    assert found is not None
    assert found.manifest.timesteps == 7
    assert complaints == []
    assert not any(name.startswith(".") for name in os.listdir(directory))


@needs_strace
@pytest.mark.parametrize("number", range(1, 6))
def test_short_writes_and_interruptions(attempt: Attempts, number: int) -> None:
    """Row 8: an interrupted write is made again; one that claims more than it wrote is found by reading back."""
    outcome = attempt(f"write:error=EINTR:when={number}", f"fsync:error=EINTR:when={number}")
    assert outcome.code == 0, outcome.error
    assert attempt.newest() == 3
    outcome = attempt(f"write:retval=100:when={number}")
    if outcome.code != 0:
        assert outcome.code == EXIT_IO
        assert "reads back wrong" in outcome.error
        assert attempt.newest() == 2
        assert attempt.names() == UNTOUCHED


def test_out_of_memory(attempt: Attempts) -> None:
    """Row 9: one line that says so, and what was there stays."""

    def work() -> None:
        state = {**lightning_state(3), "more": torch.zeros(16_000_000)}
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (32 << 20),) * 2)
        save(attempt.directory, 3, state=state)

    outcome = attempt.limited(work)
    assert outcome.code == EXIT_IO, outcome.error
    assert "not enough memory to save" in outcome.error
    assert attempt.names() == UNTOUCHED
    assert attempt.newest() == 2


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ({"state_dict": {"policy.bias": torch.tensor([0.0, math.nan])}}, r"policy\.bias \(1 of 2 numbers, first nan"),
        ({"state_dict": {"normalizer.obs.obs.var": torch.tensor(math.inf)}}, r"normalizer\.obs\.obs\.var"),
        ({"optimizer_states": [{"state": {3: {"exp": torch.tensor([-math.inf])}}}]}, r"optimizer\.0\.state\.3\.exp"),
    ],
)
def test_a_state_that_is_not_finite_is_not_saved(before: Path, state: dict[str, object], place: str) -> None:
    """Row 28: it never becomes the newest or the best, and what is wrong is named."""
    with pytest.raises(NotFinite, match=place):
        save(before, 3, score=1e9, state={**lightning_state(3), **state})
    assert sorted(os.listdir(before)) == UNTOUCHED
