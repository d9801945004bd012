"""Zips are refused for what they declare, before their content takes memory."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_rl.errors import ConfigError, DataError
from lit_rl.untrusted.archive import Archive, Limits


def make(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")  # duplicate names
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def read_all(data: bytes, limits: Limits | None = None) -> list[bytes]:
    archive = Archive.from_bytes(data, "agent.zip", limits)
    return [archive.read(name) for name in archive.names]


def refused(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read_all(data, limits)
    text = str(caught.value)
    assert text.startswith("agent.zip")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_reads_what_zipfile_writes(method: int) -> None:
    members = [("data", b"{}" * 1000), ("a/b.pth", b"\0" * 50), ("empty", b"")]
    archive = Archive.from_bytes(make(members, method), "agent.zip")
    assert [(name, archive.read(name)) for name in archive.names] == members


def test_reads_streamed_members_with_descriptors() -> None:
    class Unseekable(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *args: int) -> int:
            raise io.UnsupportedOperation

        def tell(self) -> int:
            raise io.UnsupportedOperation

    buffer = Unseekable()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("data", "w", force_zip64=True) as member:
        member.write(b"text")
    assert Archive.from_bytes(buffer.getvalue(), "agent.zip").read("data") == b"text"


@pytest.mark.parametrize(
    "name",
    ["../up", "a/../../up", "/root", "C:/x", "c:x", "a\\b", "a//b", "./a", "a/.", "dir/", "~x", "a\x1bb"],
)
def test_names(name: str) -> None:
    assert repr(name)[1:-1] in refused(make([(name, b"x")]))


def test_name_hidden_behind_a_zero_byte() -> None:
    data = make([("dataX", b"x")]).replace(b"dataX", b"data\0")
    assert "control" in refused(data)


@pytest.mark.parametrize("second", ["data", "DATA"])
def test_duplicates(second: str) -> None:
    assert "twice" in refused(make([("data", b"one"), (second, b"two")]))


def test_data_before_behind_and_between() -> None:
    plain = make([("data", b"one"), ("more", b"two")])
    assert "before" in refused(b"MZ" + plain)
    assert "behind" in refused(plain + b"!")
    cut = plain.index(b"PK\x01\x02")
    assert "data" in refused(plain[:cut] + b"hidden" + plain[cut:])
    middle = plain.index(b"PK\x03\x04", 4)
    start = struct.unpack_from("<L", plain, len(plain) - 6)[0]
    moved = bytearray(plain[:middle] + b"hidden" + plain[middle:])
    struct.pack_into("<L", moved, len(moved) - 6, start + 6)
    second = moved.index(b"PK\x01\x02", moved.index(b"PK\x01\x02") + 4)
    struct.pack_into("<L", moved, second + 42, middle + 6)
    assert "unlisted data" in refused(bytes(moved))


def test_two_members_over_the_same_bytes() -> None:
    data = bytearray(make([("aaaa", b"x" * 100), ("bbbb", b"y")]))
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    struct.pack_into("<L", data, second + 42, 0)
    assert "overlaps" in refused(bytes(data))


def test_encrypted_and_exotic_methods() -> None:
    data = bytearray(make([("data", b"x")]))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in refused(bytes(data))
    assert "compressed with method" in refused(make([("data", b"x" * 100)], zipfile.ZIP_LZMA))


def test_local_header_that_disagrees() -> None:
    data = bytearray(make([("data", b"x")]))
    data[30] = ord("D")
    assert "local header" in refused(bytes(data))


def test_checksum_and_size() -> None:
    data = make([("data", b"xxxx")])
    assert "checksum" in refused(data.replace(b"xxxx", b"xxxy"))
    packed = bytearray(make([("data", b"x" * 1000)], zipfile.ZIP_DEFLATED))
    central = packed.index(b"PK\x01\x02")
    for offset in (central + 24, 22):
        struct.pack_into("<L", packed, offset, 900)
    assert "does not inflate" in refused(bytes(packed))


def test_limits() -> None:
    data = make([("a", b"x" * 100), ("b", b"x" * 100)])
    assert "2 members" in refused(data, Limits(members=1))
    assert "100 bytes" in refused(data, Limits(member_bytes=99))
    assert "200 bytes" in refused(data, Limits(total_bytes=199))
    assert "method" in refused(make([("a", b"x" * 100)], zipfile.ZIP_DEFLATED), Limits(compressed=False))
    with pytest.raises(DataError, match="more than the 99"):
        Archive.from_bytes(data, "agent.zip").read("a", limit=99)


BOMB = """
import resource, struct, sys, zipfile, io
from lit_rl.errors import DataError
from lit_rl.untrusted.archive import Archive
path = sys.argv[1]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (96 << 20),) * 2)
try:
    with Archive.open(path) as archive:
        archive.read("data")
except DataError as error:
    print(error)
    sys.exit(65)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="sets a memory limit the Linux way")
@pytest.mark.parametrize("kind", ["honest", "lying", "directory"])
def test_bombs_under_a_memory_limit(tmp_path: Path, kind: str) -> None:
    """256 MiB out of 256 KiB, declared or hidden, and a directory that claims to be huge: 192 MiB are
    enough.
    """
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("data", "w") as member:
        for _ in range(256):
            member.write(bytes(1 << 20))
    data = bytearray(path.read_bytes())
    if kind == "lying":
        for offset in (data.index(b"PK\x01\x02") + 24, 22):
            struct.pack_into("<L", data, offset, 1 << 20)
    if kind == "directory":
        struct.pack_into("<2HL", data, len(data) - 14, 60000, 60000, 0xF0000000)
    path.write_bytes(data)
    run = subprocess.run([sys.executable, "-c", BOMB, str(path)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 65, run.stderr
    assert run.stdout.count("\n") == 1
    assert "bomb.zip" in run.stdout


def test_what_is_no_zip(tmp_path: Path) -> None:
    for content in (b"", b"not a zip at all, but long enough for an end record", b"\x80\x04N."):
        refused(content)
    with pytest.raises(ConfigError, match="local file"):
        Archive.open("https://example.org/agent.zip")
    with pytest.raises(ConfigError, match="not there"):
        Archive.open(tmp_path / "missing.zip")


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 400), value=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_harmless(position: int, value: int) -> None:
    members = [("data", b"hello world" * 3), ("policy.pth", bytes(range(60)))]
    data = bytearray(make(members, zipfile.ZIP_DEFLATED))
    data[position % len(data)] = value
    with contextlib.suppress(DataError):
        assert read_all(bytes(data)) == [content for _, content in members]
