"""Which checkpoints are kept, which is the newest, and what is refused, without a Trainer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lit_rl.checkpoint.manifest import manifest_text, read_checkpoint
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.errors import DataError
from tests.helpers.saving import assert_whole, save


def kept(directory: Path) -> list[int]:
    return [c.manifest.timesteps for c in CheckpointStore(directory).inventory().checkpoints][::-1]


def save_each(directory: Path, timesteps: range, **config: Any) -> list[int]:
    for t in timesteps:
        save(directory, t, **config)
    return kept(directory)


def test_keep_last(tmp_path: Path) -> None:
    assert save_each(tmp_path / "a", range(1, 6), keep_last=1) == [5]
    assert save_each(tmp_path / "b", range(1, 6), keep_last=4) == [2, 3, 4, 5]


def test_keep_every_keeps_the_first_at_or_past_each_multiple(tmp_path: Path) -> None:
    assert save_each(tmp_path / "a", range(10, 150, 20), keep_last=1) == [130]
    assert save_each(tmp_path / "b", range(10, 150, 20), keep_last=1, keep_every=50) == [50, 110, 130]


def test_one_before_a_promotion_is_kept(tmp_path: Path) -> None:
    save(tmp_path / "a", 1, reason="promotion")
    assert save_each(tmp_path / "a", range(2, 8), keep_last=1) == [1, 7]


def test_a_reason_stands_in_the_manifest_and_older_manifests_have_none(tmp_path: Path) -> None:
    save(tmp_path, 1, reason="best")
    path = tmp_path / "t0000000001-s001"
    assert read_checkpoint(path).manifest.reason == "best"
    fields = json.loads((path / "manifest.json").read_text())
    del fields["sha256"], fields["reason"]
    (path / "manifest.json").write_text(manifest_text(fields))
    assert read_checkpoint(path).manifest.reason == ""
    found, _ = CheckpointStore(tmp_path).newest_good()
    assert found is not None


def test_strict_refuses_a_damaged_manifest_too(tmp_path: Path) -> None:
    save_each(tmp_path, range(1, 3))
    manifest = tmp_path / "t0000000002-s001" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-7])
    with pytest.raises(DataError, match="damaged"):
        CheckpointStore(tmp_path).newest_good(strict=True)
    found, complaints = CheckpointStore(tmp_path).newest_good()
    assert found is not None
    assert found.manifest.timesteps == 1
    assert str(manifest) in complaints[0]


def test_what_a_later_version_wrote_is_never_passed_over(tmp_path: Path) -> None:
    """Going back to an older checkpoint would throw away what the later version has done."""
    save_each(tmp_path, range(1, 3))
    manifest = tmp_path / "t0000000002-s001" / "manifest.json"
    fields = json.loads(manifest.read_text())
    del fields["sha256"]
    manifest.write_text(manifest_text({**fields, "format": 2, "versions": {"lit-rl": "9.0"}}))
    with pytest.raises(DataError, match=r"format 2, .* lit-rl 9\.0, which opens it"):
        CheckpointStore(tmp_path).newest_good()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("world_size", 10**12, "files for 1000000000000 ranks"),
        ("world_size", 0, "for 0 ranks"),
        ("timesteps", "7", "not a whole number"),
        ("segment", -1, "not a whole number"),
        ("score", "high", "score is not a number"),
        ("files", [], "damaged"),
        ("surprise", 1, "surprise"),
    ],
)
def test_a_manifest_of_odd_values_is_refused(tmp_path: Path, field: str, value: Any, reason: str) -> None:
    """Its own digest is right: somebody made it so."""
    save(tmp_path, 1)
    manifest = tmp_path / "t0000000001-s001" / "manifest.json"
    fields = json.loads(manifest.read_text())
    del fields["sha256"]
    manifest.write_text(manifest_text({**fields, field: value}))
    with pytest.raises(DataError, match=reason):
        read_checkpoint(manifest.parent)


def test_a_manifest_that_is_huge_or_deep_or_no_file_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    manifest = tmp_path / "t0000000001-s001" / "manifest.json"
    manifest.write_text("[" * 200_000)
    with pytest.raises(DataError, match="damaged"):
        read_checkpoint(manifest.parent)
    os.truncate(manifest, 1 << 40)  # a hole: takes no room on the disk
    with pytest.raises(DataError, match="more than"):
        read_checkpoint(manifest.parent)
    manifest.unlink()
    os.mkfifo(manifest)
    with pytest.raises(DataError, match="not an ordinary file"):
        read_checkpoint(manifest.parent)


def test_a_manifest_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    save_each(tmp_path, range(1, 3))
    manifest = tmp_path / "t0000000002-s001" / "manifest.json"
    manifest.unlink()
    os.symlink("manifest.json", manifest)  # leads to itself, for any user
    found, complaints = CheckpointStore(tmp_path).newest_good()
    assert found is not None
    assert found.manifest.timesteps == 1
    assert str(manifest.parent) in complaints[0]


def test_clocks_names_and_links_decide_nothing(tmp_path: Path) -> None:
    """Row 30: saves of one second, a clock that jumps back, names that mislead, a link that points elsewhere."""
    save_each(tmp_path, range(1, 4), keep_last=9)
    for timesteps, seconds in ((1, 3e9), (2, 2e9), (3, 1e9)):
        os.utime(tmp_path / f"t{timesteps:010d}-s001" / "manifest.json", (seconds, seconds))
    os.rename(tmp_path / "t0000000003-s001", tmp_path / "t0000000000-s000")
    (tmp_path / "last").unlink()
    os.symlink("t0000000001-s001", tmp_path / "last")
    found, complaints = CheckpointStore(tmp_path).newest_good()
    assert found is not None
    assert (found.path.name, complaints) == ("t0000000000-s000", [])
    assert_whole(found)
