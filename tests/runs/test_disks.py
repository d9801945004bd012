"""Disks that are full, that refuse, that lack what others have; and nobody who reads: whole runs."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lit_rl.checkpoint import files
from lit_rl.errors import EXIT_IO, Held
from lit_rl.run import directory as run_directories
from lit_rl.run.directory import RunLock
from lit_rl.run.events import EventFile, Events
from lit_rl.state.plain import first_difference
from tests.helpers.cli import checkpoints, environment, final_state, lineage, lit_rl, start, write_config
from tests.helpers.strace import forked
from tests.runs.conftest import Cli
from tests.runs.test_saving import fit

RANKS = {"trainer": {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}}
FAST = {"total_timesteps": 2_000_000, "checkpoint": {"every_timesteps": None, "save_best": False}}
TINY = {"model": {"init_args": {"n_steps": 4, "batch_size": 16, "n_epochs": 1}}}


def assert_same(a: Path, b: Path) -> None:
    ours, theirs = final_state(a), final_state(b)
    for name in theirs:
        assert first_difference(ours[name], theirs[name], name) is None


# -- full ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes small disks, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()

    def mounted(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("may not mount a small disk")
        return place

    yield mounted
    subprocess.run(["umount", str(place)], check=False, capture_output=True)


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("error: cannot write "), text
    return lines[0]


def test_logs_alone_fill_the_disk(cli: Cli, mount: Callable[[str], Path]) -> None:
    """Nothing is saved meanwhile, so that a log is first to meet it."""
    disk = mount("size=96k")
    config = cli.config({**FAST, **TINY, "trainer": {"default_root_dir": str(disk)}})
    assert "No space left on device" in one_line(cli("fit", "--config", config, expect=EXIT_IO).err)


@pytest.mark.slow
def test_logs_alone_fill_the_disk_of_two_ranks(tmp_path: Path, mount: Callable[[str], Path]) -> None:
    disk = mount("size=96k")
    over: dict[str, Any] = {**FAST, "model": {"init_args": {"n_steps": 4, "batch_size": 8, "n_epochs": 1}}}
    config = write_config(tmp_path, {**over, "trainer": {**RANKS["trainer"], "default_root_dir": str(disk)}})
    done = lit_rl("fit", "--config", config, cwd=tmp_path, expect=EXIT_IO)
    first, *more = done.stderr.splitlines()
    assert "No space left on device" in one_line(first)
    assert all(line.startswith("error: rank 0 ") for line in more[:1])  # the other's word for it
    assert len(more) <= 1


def test_a_limit_on_the_size_of_files_is_met_by_a_log(tmp_path: Path) -> None:
    """The same without a disk of its own."""
    config = write_config(tmp_path, {**FAST, **TINY})

    def work() -> None:
        os.dup2(1, 2)
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        fit(config, tmp_path)

    outcome = forked(work, tmp_path / "trace")
    assert outcome.code == EXIT_IO, outcome.out
    last = outcome.out.splitlines()[-1]
    assert last.startswith("error: cannot write ")
    assert "File too large" in last
    assert "Traceback" not in outcome.out


@pytest.mark.parametrize("options", ["size=4k", "size=12k", "nr_inodes=2", "nr_inodes=4"])
def test_no_room_at_all_leaves_nothing(cli: Cli, mount: Callable[[str], Path], options: str) -> None:
    """And what is left is no run for a resume; with room it begins."""
    disk = mount(options)
    command = ("fit", "--config", cli.config({"trainer": {"default_root_dir": str(disk)}}))
    assert "No space left on device" in cli(*command, expect=EXIT_IO).err
    subprocess.run(["mount", "-o", "remount,size=10m,nr_inodes=1000", str(disk)], check=True)
    assert "no checkpoint below" in cli(*command, "--mode", "resume", expect=2).err
    cli(*command, "--requeue", "true")


# -- a file system that lacks something ----------------------------------------------------------------------------


def refusing(number: int) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize(
    ("where", "name", "number", "said"),
    [
        (fcntl, "flock", errno.ENOLCK, "has no locks"),
        (fcntl, "flock", errno.ENOSYS, "has no locks"),
        (fcntl, "flock", errno.EOPNOTSUPP, "has no locks"),
        (os, "symlink", errno.EPERM, None),
        (os, "symlink", errno.ENOSYS, None),
        (os, "fsync", errno.EINVAL, "does not fsync directories"),
        (os, "fsync", errno.ENOTSUP, "does not fsync directories"),
        (os, "link", errno.EPERM, None),
    ],
)
def test_what_a_file_system_lacks(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, number: int, said: str | None
) -> None:
    """It trains, resumes, prunes and finishes to the same bits; what that costs is said once."""
    config = cli.config({"checkpoint": {"keep_last": 1}})
    cli("fit", "--config", config, "--name", "straight")
    monkeypatch.setattr(where, name, refusing(number))
    for words, code in (((), 75), (("--mode", "resume"), 75), (("--requeue", "true"), 0)):
        pause = ("--pause_at", 128 if not words else 256) if code else ()
        done = cli("fit", "--config", config, *words, *pause, expect=code)
        assert done.out.count(said or "this file system") == (said is not None)
        assert done.err == ""
    assert "nothing to do" in cli("fit", "--config", config, "--mode", "resume").out
    assert_same(cli.run(), cli.run("straight"))


def test_a_rename_that_cannot_replace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    monkeypatch.setattr(os, "replace", refusing(errno.EEXIST))
    files.replace_durably(file, b"new")
    assert file.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


class TestWithoutLocks:
    """What the holder has written down stands for the lock."""

    @pytest.fixture(autouse=True)
    def no_flock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run_directories.fcntl, "flock", refusing(errno.ENOLCK))

    def test_who_lives_holds_it_and_who_lets_go_does_not(self, tmp_path: Path) -> None:
        lock = RunLock(tmp_path)
        with pytest.raises(Held, match=f"is being trained by process {os.getpid()} on "):
            RunLock(tmp_path)
        lock.release()
        RunLock(tmp_path).release()

    def test_who_is_dead_or_elsewhere_does_not(self, tmp_path: Path) -> None:
        process = subprocess.Popen(["true"])
        process.wait()
        host = socket.gethostname()
        for holder in (
            {"pid": process.pid, "host": host},
            {"pid": os.getpid(), "host": host, "started": 1},  # the number has been given again
            {"pid": os.getpid(), "host": "elsewhere"},
            {"pid": "x", "host": host},
            [],
        ):
            (tmp_path / ".lock").write_text(json.dumps(holder))
            RunLock(tmp_path).release()

    def test_a_holder_of_an_older_version_that_lives(self, tmp_path: Path) -> None:
        (tmp_path / ".lock").write_text(json.dumps({"pid": os.getppid(), "host": socket.gethostname()}))
        with pytest.raises(Held, match=f"process {os.getppid()}"):
            RunLock(tmp_path)


# -- a directory that cannot be read -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["scandir", "stat", "open"])
def test_a_run_that_may_not_be_read_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """As root everything may be read, so that it is refused here."""
    config = cli.config()
    cli("fit", "--config", config, "--pause_at", 128, expect=75)
    refused = str(cli.run().name)
    inner: dict[str, Any] = {"scandir": os.scandir, "listdir": os.listdir, "stat": os.stat}

    def guarded(name: str) -> Callable[..., Any]:
        def call(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            if refused in str(path):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return inner[name](path, *args, **kwargs)

        return call

    if what == "open":
        from lit_rl.run.lineage import Lineage

        def read(cls: Any, place: Path) -> Any:
            raise PermissionError(errno.EACCES, "Permission denied", str(place / "lineage.json"))

        monkeypatch.setattr(Lineage, "read", classmethod(read))
    for name in {"scandir": ("scandir", "listdir"), "stat": ("stat",), "open": ()}[what]:
        monkeypatch.setattr(os, name, guarded(name))
    for words in (("--mode", "resume"), ("--requeue", "true")):
        done = cli("fit", "--config", config, *words, expect=EXIT_IO)
        assert done.err.startswith("error: cannot read or write ")
        assert "Permission denied" in done.err
        assert done.err.count("\n") == 1


# -- nobody reads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_reader_that_goes_away_does_not_end_training(tmp_path: Path, workers: bool) -> None:
    """`fit ... | head -1`, and standard error too."""
    over: dict[str, Any] = {"total_timesteps": 4096, "eval": {"every": 512, "episodes": 1}}
    over |= {"env": {"backend": "async", "n_workers": 2}} if workers else {}
    process = start("fit", "--config", write_config(tmp_path, over), cwd=tmp_path)
    assert process.stdout.readline() == "mode: fresh\n"
    process.stdout.close()
    process.stderr.close()
    assert process.wait(120) == 0
    (segment,) = lineage(tmp_path / "lightning_logs" / "run" / "version_0")["segments"]
    assert (segment["cause"], segment["to_timesteps"]) == ("finished", 4096)


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(tmp_path: Path, closed: str) -> None:
    config = write_config(tmp_path)
    for words, code in ((["--pause_at", "256"], 75), (["--mode", "resume"], 0)):
        command = f"exec {sys.executable} -m lit_rl fit --config {config} {' '.join(words)} {closed}"
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment(), capture_output=True, check=False)
        assert done.returncode == code, done
        assert b"Traceback" not in done.stderr
    run = tmp_path / "lightning_logs" / "run" / "version_0"
    assert checkpoints(run)[-1].manifest.timesteps == 512
    assert "timestep" not in (run / ".lock").read_text()


# -- event files ---------------------------------------------------------------------------------------------------


def test_events_are_read_by_tensorboard_and_written_by_any_thread(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = Events(tmp_path)
    threads = [
        threading.Thread(target=lambda i=i: [writer.add_scalar(f"t{i}", n, n) for n in range(50)]) for i in (1, 2)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    writer.add_text("text", "of a user's callback", 3)
    writer.close()
    writer.add_scalar("after", 1.0, 1)  # a file of its own
    writer.flush()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.value for event in events.Scalars("t2")] == list(range(50))
    assert "after" in events.Tags()["scalars"]


def test_an_event_file_that_could_not_be_written_is_whole_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.compat.proto.event_pb2 import Event

    file = EventFile(tmp_path)
    before = file.path.read_bytes()
    file.add_event(Event(step=1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, hard))
    try:
        with pytest.raises(files.DiskFull, match="File too large"):
            file.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.path.read_bytes() == before
    file.flush()
    assert len(file.path.read_bytes()) > len(before)
