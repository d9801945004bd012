"""Row 3: the power fails at any moment of a save, and what was not waited for (`fsync`) is gone or half there.

The file system of this model keeps, for each file, the content at its last `fsync`, and for each directory the entries
at its last `fsync`. What came later may have reached the disk or not, each piece by itself.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lit_rl.checkpoint.files import write_json
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.run.directory import new_directory
from tests.helpers.saving import assert_whole, save

CHANGING = ("mkdir", "rmdir", "rename", "replace", "unlink", "symlink", "fsync")


@dataclass
class Node:
    """A file, directory or link as it lies on the disk: its content."""

    entries: dict[str, int] | None = None
    data: bytes = b""
    link: str | None = None


@dataclass
class Disk:
    """What is certain to be on the disk below `root`, and every state that a loss of power may leave.

    Args:
        root: is there for good.
        durable: nodes by inode, as they were last waited for.
        held: open descriptors, so that no inode is used twice.
    """

    root: Path
    durable: dict[int, Node] = field(default_factory=dict)
    held: list[int] = field(default_factory=list)

    def now(self) -> dict[int, Node]:
        """Every node as a process sees it."""
        nodes: dict[int, Node] = {}
        for directory, folders, files in os.walk(self.root):
            entries = {name: os.lstat(Path(directory, name)).st_ino for name in (*folders, *files)}
            nodes[os.stat(directory).st_ino] = Node(entries)
            for name in (*folders, *files):
                path = Path(directory, name)
                if path.is_symlink():
                    nodes[entries[name]] = Node(link=os.readlink(path))
                elif path.is_file():
                    nodes[entries[name]] = Node(data=path.read_bytes())
        return nodes

    def wait(self, descriptor: int) -> None:
        """What `fsync` makes certain: a file's content, or a directory's entries."""
        number = os.fstat(descriptor).st_ino
        if number not in self.durable:
            self.held.append(os.dup(descriptor))
        self.durable[number] = self.now()[number]

    def wait_for_all(self) -> None:
        """Everything that is there now is certain."""
        self.durable = self.now()
        for path in self.root.rglob("*"):
            self.held.append(os.open(path, os.O_PATH | os.O_NOFOLLOW))

    def after_power_loss(self, target: Path, certain_only: bool, chance: random.Random) -> None:
        """Build one state that may be found afterwards."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        self._build(os.stat(self.root).st_ino, target, self.now(), certain_only, chance, 0)

    def _build(
        self, number: int, target: Path, now: dict[int, Node], certain_only: bool, chance: random.Random, depth: int
    ) -> None:
        before = self.durable.get(number, Node({})).entries or {}
        later = (now[number].entries or {}) if number in now else before
        entries = dict(before)
        for name in before.keys() | later.keys():
            if not certain_only and chance.random() < 0.5 and before.get(name) != later.get(name):
                entries.pop(name, None)
                if name in later:
                    entries[name] = later[name]
        for name, inode in entries.items():
            kept, seen = self.durable.get(inode), now.get(inode)
            node = kept or seen or Node()
            if node.link is not None:
                os.symlink(node.link, target / name)
            elif node.entries is not None and depth < 9:
                (target / name).mkdir()
                self._build(inode, target / name, now, certain_only, chance, depth + 1)
            else:
                data = kept.data if kept else b""
                if seen and seen.data != data and not certain_only and chance.random() < 0.5:
                    data = seen.data[: chance.randint(0, len(seen.data))]
                (target / name).write_bytes(data)


def _watch(monkeypatch: pytest.MonkeyPatch, disk: Disk, look: Callable[[], None]) -> None:
    """Look after every call that changes the disk."""

    def wrap(name: str) -> None:
        inner = getattr(os, name)

        def call(*words: Any, **options: Any) -> Any:
            result = inner(*words, **options)
            if name == "fsync":
                disk.wait(words[0])
            look()
            return result

        monkeypatch.setattr(os, name, call)

    for name in CHANGING:
        wrap(name)


@pytest.mark.parametrize("keep_last", [1, 2])
def test_a_loss_of_power_at_any_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_last: int) -> None:
    root, found_again = tmp_path / "root", tmp_path / "again"
    directory = root / "checkpoints"
    root.mkdir()
    disk = Disk(root)
    save(directory, 1, keep_last=keep_last)
    save(directory, 2, keep_last=keep_last)
    disk.wait_for_all()
    newest: list[int] = []
    chance = random.Random(keep_last)
    finished = False

    def look() -> None:
        for certain_only in (True, *[False] * 6):
            target = found_again / str(len(newest))
            disk.after_power_loss(target, certain_only, chance)
            found, complaints = CheckpointStore(target / "checkpoints").newest_good()
            assert found is not None
            assert complaints == []
            assert_whole(found)
            assert found.manifest.timesteps in ((3,) if finished else (2, 3))
            newest.append(found.manifest.timesteps)
            shutil.rmtree(target)

    originals = {name: getattr(os, name) for name in CHANGING}
    looking = _Once(look, originals)
    _watch(monkeypatch, disk, looking)
    save(directory, 3, keep_last=keep_last)
    finished = True
    looking()
    assert set(newest) == {2, 3}
    assert len(newest) > 100
    for descriptor in disk.held:
        os.close(descriptor)


class _Once:
    """Calls `look` with the operating system's own functions in place, and never from within itself."""

    def __init__(self, look: Callable[[], None], originals: dict[str, Any]) -> None:
        self._look, self._originals = look, originals
        self._busy = False

    def __call__(self) -> None:
        if self._busy:
            return
        self._busy = True
        watching = {name: getattr(os, name) for name in self._originals}
        for name, function in self._originals.items():
            setattr(os, name, function)
        try:
            self._look()
        finally:
            for name, function in watching.items():
                setattr(os, name, function)
            self._busy = False


def test_a_new_run_directory_and_its_first_checkpoint_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every directory on the way down is waited for."""
    root = tmp_path / "root"
    root.mkdir()
    disk = Disk(root)
    disk.wait_for_all()
    _watch(monkeypatch, disk, lambda: None)
    run = new_directory(root / "lightning_logs", "run")
    write_json(run / "lineage.json", {})
    save(run / "checkpoints", 5)
    monkeypatch.undo()
    disk.after_power_loss(tmp_path / "again", True, random.Random(0))
    again = tmp_path / "again" / run.relative_to(root)
    found, _ = CheckpointStore(again / "checkpoints").newest_good()
    assert found is not None
    assert_whole(found)
    assert (again / "lineage.json").exists()


def test_a_replaced_file_is_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write_json(root / "lineage.json", {"segments": 1})
    disk = Disk(root)
    disk.wait_for_all()
    _watch(monkeypatch, disk, lambda: None)
    write_json(root / "lineage.json", {"segments": 2})
    monkeypatch.undo()
    disk.after_power_loss(tmp_path / "again", True, random.Random(0))
    assert json.loads((tmp_path / "again" / "lineage.json").read_text()) == {"segments": 2}


def test_the_model_finds_a_save_that_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the waiting, the same test fails: it would see a writer that lies."""
    root = tmp_path / "root"
    root.mkdir()
    disk = Disk(root)
    save(root / "checkpoints", 1)
    disk.wait_for_all()
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    save(root / "checkpoints", 2, keep_last=1)
    disk.after_power_loss(tmp_path / "again", False, random.Random(3))
    found, complaints = CheckpointStore(tmp_path / "again" / "checkpoints").newest_good()
    assert found is None or found.manifest.timesteps == 1 or complaints
