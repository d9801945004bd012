"""The format on disk, without a Trainer."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_rl.checkpoint.commit import commit, dumps
from lit_rl.checkpoint.files import replace_durably, write_durably
from lit_rl.checkpoint.manifest import (
    LIGHTNING_FILE,
    Checkpoint,
    manifest_fields,
    manifest_text,
    rank_file,
    read_checkpoint,
)
from lit_rl.checkpoint.reader import load_bare, load_lightning, load_rank, verify
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.errors import DataError, StorageError
from lit_rl.state.plain import digest, first_difference, to_plain, with_arrays

STATE = {"weights": torch.arange(6.0).reshape(2, 3), "count": 3, "name": "x", "none": None, "nested": [{"a": (1, 2.5)}]}


def save(store: CheckpointStore, timesteps: int, segment: int = 1, score: float | None = None) -> Checkpoint:
    staging = store.stage(timesteps, segment)
    write_durably(staging / LIGHTNING_FILE, dumps({**STATE, "timesteps": timesteps}))
    write_durably(staging / rank_file(0), dumps({"rank": 0}))
    return commit(staging, store.place(timesteps, segment), manifest_fields("id", segment, timesteps, 1, 1, score))


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", keep_last=2)


def test_round_trip(store: CheckpointStore) -> None:
    checkpoint = verify(save(store, 100).path)
    assert first_difference(load_lightning(checkpoint), {**STATE, "timesteps": 100}) is None
    assert load_rank(checkpoint, 0) == {"rank": 0}
    assert checkpoint.manifest.run_id == "id"
    assert set(checkpoint.manifest.files) == {LIGHTNING_FILE, "rank_00000.pt"}


def test_order_is_segment_then_timesteps_whatever_names_and_times_say(store: CheckpointStore) -> None:
    for timesteps, segment in ((100, 1), (300, 1), (200, 2)):
        save(store, timesteps, segment)
    os.utime(store.place(100, 1) / "manifest.json", (2**31, 2**31))
    os.rename(store.place(200, 2), store.directory / "aaa")
    assert [c.manifest.order for c in store.inventory().checkpoints] == [(2, 200), (1, 100)]
    assert store.inventory().left_behind == [store.place(300, 1)]  # the second segment began before it


def test_settle_points_links_and_keeps_newest_and_best(store: CheckpointStore) -> None:
    for timesteps, score in ((1, 5.0), (2, 9.0), (3, 1.0), (4, None), (5, 2.0)):
        save(store, timesteps, score=score)
        store.settle()
    assert [c.manifest.timesteps for c in store.inventory().checkpoints] == [5, 4, 2]
    assert os.readlink(store.directory / "last") == "t0000000005-s001"
    assert os.readlink(store.directory / "best") == "t0000000002-s001"


def test_a_moved_directory_and_a_lost_link_make_no_difference(store: CheckpointStore, tmp_path: Path) -> None:
    save(store, 7)
    store.settle()
    (store.directory / "last").unlink()
    moved = tmp_path / "elsewhere"
    shutil.move(store.directory, moved)
    newest, complaints = CheckpointStore(moved).newest_good()
    assert newest is not None
    assert newest.manifest.timesteps == 7
    assert complaints == []


@pytest.mark.parametrize("name", [LIGHTNING_FILE, "rank_00000.pt", "manifest.json"])
@pytest.mark.parametrize("keep", [0, 1, 0.5, -1])
def test_a_truncated_file_is_found(store: CheckpointStore, name: str, keep: float) -> None:
    older, newest = save(store, 1), save(store, 2)
    file = newest.path / name
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * keep) if 0 < keep < 1 else int(keep)])
    found, complaints = store.newest_good()
    assert found is not None
    assert found.path == older.path
    assert str(newest.path) in complaints[0]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_one_flipped_bit_anywhere_is_found(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    store = CheckpointStore(tmp_path_factory.mktemp("flip"))
    checkpoint = save(store, 1)
    file = checkpoint.path / data.draw(st.sampled_from([LIGHTNING_FILE, "rank_00000.pt", "manifest.json"]))
    content = bytearray(file.read_bytes())
    position = data.draw(st.integers(0, len(content) * 8 - 1))
    content[position // 8] ^= 1 << (position % 8)
    file.write_bytes(content)
    with pytest.raises(DataError, match=file.name):
        verify(checkpoint.path)


def test_a_flipped_bit_in_a_bare_file_is_found_by_its_checksum(store: CheckpointStore, tmp_path: Path) -> None:
    state = {**STATE, "state_dict": {"weight": torch.arange(4096.0)}}
    bare = tmp_path / "bare.ckpt"
    bare.write_bytes(dumps(state))
    assert first_difference(load_bare(bare), state) is None
    content = bytearray(bare.read_bytes())
    content[content.index(torch.arange(4096.0).numpy().tobytes()) + 9] ^= 4
    bare.write_bytes(content)
    with pytest.raises(DataError, match="does not match its checksum"):
        load_bare(bare)


@pytest.mark.parametrize("name", [LIGHTNING_FILE, "rank_00000.pt", "manifest.json"])
def test_a_missing_file_is_named(store: CheckpointStore, name: str) -> None:
    checkpoint = save(store, 1)
    (checkpoint.path / name).unlink()
    with pytest.raises(DataError, match=name):
        verify(checkpoint.path)


def test_a_newer_format_names_the_version_that_reads_it(store: CheckpointStore) -> None:
    checkpoint = save(store, 1)
    manifest = json.loads((checkpoint.path / "manifest.json").read_text())
    manifest["format"], manifest["versions"]["lit-rl"] = 99, "7.1"
    (checkpoint.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"format 99.*lit-rl 7\.1"):
        read_checkpoint(checkpoint.path)


def test_a_manifest_that_names_files_outside_is_refused(store: CheckpointStore) -> None:
    checkpoint = save(store, 1)
    manifest = json.loads((checkpoint.path / "manifest.json").read_text())
    del manifest["sha256"]
    manifest["files"]["../../secret"] = {"size": 1, "sha256": "0"}
    (checkpoint.path / "manifest.json").write_text(manifest_text(manifest))
    with pytest.raises(DataError, match="outside the checkpoint"):
        verify(checkpoint.path)


def test_debris_of_a_killed_save_is_no_candidate_and_is_cleared(store: CheckpointStore) -> None:
    save(store, 1)
    write_durably(store.stage(2, 1) / LIGHTNING_FILE, b"half")
    assert [c.manifest.timesteps for c in store.inventory().checkpoints] == [1]
    assert store.clear_debris() == [".staging-t0000000002-s001"]
    assert store.clear_debris() == []


def test_what_could_not_be_opened_is_refused_at_save_with_its_place() -> None:
    for bad in ({"a": [object()]}, {"a": [{1, 2}]}, {"a": [Path("x")]}, {"a": [np.random.default_rng()]}):
        with pytest.raises(TypeError, match=r"state\['a'\]\[0\]"):
            dumps(bad)
    with pytest.raises(TypeError, match="key"):
        dumps({"a": {(1, 2): 3}})


def test_arrays_and_numpy_numbers_become_tensors_and_numbers() -> None:
    plain = to_plain({"a": np.arange(3, dtype=np.uint8), "b": np.float64(0.5), "c": (np.int64(1), np.bool_(True))})
    assert plain["a"].dtype is torch.uint8
    assert plain["b"] == 0.5
    assert plain["c"] == (1, True)
    assert with_arrays(plain)["a"].tolist() == [0, 1, 2]


def test_the_digest_sees_every_bit() -> None:
    base = {"a": torch.tensor([0.0, 1.0]), "b": [1, 2.0, "x", None, True]}
    same = {"b": [1, 2.0, "x", None, True], "a": torch.tensor([0.0, 1.0])}
    assert digest(base) == digest(same)
    for other in (
        {**base, "a": torch.tensor([-0.0, 1.0])},
        {**base, "a": torch.tensor([0.0, 1.0], dtype=torch.float64)},
        {**base, "a": torch.tensor([[0.0, 1.0]])},
        {**base, "b": [1, 2, "x", None, True]},
        {**base, "b": [1, 2.0, "x", None, 1]},
        {**base, "c": None},
    ):
        assert digest(other) != digest(base)
        assert first_difference(base, other) is not None
    assert first_difference(base, same) is None


def test_a_file_is_never_written_over(tmp_path: Path) -> None:
    write_durably(tmp_path / "a", b"1")
    with pytest.raises(StorageError, match="cannot write"):
        write_durably(tmp_path / "a", b"2")
    replace_durably(tmp_path / "a", b"3")
    assert (tmp_path / "a").read_bytes() == b"3"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
