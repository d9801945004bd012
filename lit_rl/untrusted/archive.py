"""Zip files whose layout is checked before memory is taken.

Source: PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5. We accept what `zipfile` and `torch.save` write: stored or
deflated members one after another from byte 0, the central directory behind them, nothing before, between
or after.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from lit_rl.errors import ConfigError, DataError

_LOCAL_HEADER = 30
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_DESCRIPTOR_FLAG = 0x08
_ENCRYPTED_FLAGS = 0x01 | 0x20 | 0x40 | 0x2000  # encrypted, patch data, strong encryption, masked headers
_DESCRIPTOR_SIZES = (12, 16, 20, 24)  # with or without signature, 32 or 64 bit
_READ_ERRORS = (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, EOFError, OverflowError)


@dataclass(frozen=True)
class Limits:
    """What an archive may ask for. Sizes in bytes; `ratio` is real size over stored size, for members over
    1 MiB.
    """

    members: int = 4096
    member_bytes: int = 1 << 30
    total_bytes: int = 2 << 30
    ratio: float = 50.0
    compressed: bool = True


@dataclass(frozen=True)
class _Member:
    """Where a member's bytes lie (`start`, absolute), how many they are in the file and after inflating."""

    start: int
    packed: int
    size: int
    crc: int
    deflated: bool


def check_path(path: str | Path, what: str) -> Path:
    """The path of a local, ordinary file; a `ConfigError` for a URL or for what is not there."""
    if "://" in str(path):
        raise ConfigError(f"{path}: {what} must be a local file; fetch it first and give its path.")
    if not Path(path).is_file():
        raise ConfigError(f"{path}: {what} is not there, or is not an ordinary file.")
    return Path(path)


class Archive:
    """An open zip: `names` in the order of its directory, `read(name)` for the bytes of one member.

    Opening checks the whole layout and raises a one-line `DataError` naming the file and the member.
    """

    def __init__(self, file: BinaryIO, where: str, limits: Limits | None = None) -> None:
        self._file = file
        self._where = where
        self._limits = limits or Limits()
        self._members = self._check()
        self.names = tuple(self._members)

    @classmethod
    def open(cls, path: str | Path, limits: Limits | None = None) -> Archive:
        """The archive at a local path."""
        checked = check_path(path, "the zip")
        file = checked.open("rb")
        try:
            return cls(file, str(path), limits)
        except BaseException:
            file.close()
            raise

    @classmethod
    def from_bytes(cls, data: bytes, where: str, limits: Limits | None = None) -> Archive:
        """The archive in memory; `where` names it in messages."""
        return cls(io.BytesIO(data), where, limits)

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def size(self, name: str) -> int:
        """The real size of a member in bytes."""
        return self._members[name].size

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes of a member: exactly as many as declared, with the declared checksum, at most `limit`."""
        if name not in self._members:
            raise self._refuse("is missing", name)
        member = self._members[name]
        if limit is not None and member.size > limit:
            raise self._refuse(f"has {member.size} bytes, more than the {limit} that it may have", name)
        self._file.seek(member.start)
        data = self._file.read(member.packed)
        if member.deflated:
            data = self._inflate(data, member, name)
        if len(data) != member.size:
            raise self._refuse(f"has {len(data)} bytes where the directory declares {member.size}", name)
        if zlib.crc32(data) != member.crc:
            raise self._refuse("does not match its checksum: the file is damaged", name)
        return data

    def _inflate(self, packed: bytes, member: _Member, name: str) -> bytes:
        stream = zlib.decompressobj(-15)
        try:
            data = stream.decompress(packed, member.size + 1)
        except zlib.error as error:
            raise self._refuse(f"cannot be inflated ({error})", name) from None
        if len(data) > member.size or not stream.eof or stream.unused_data:
            raise self._refuse(f"does not inflate to the declared {member.size} bytes", name)
        return data

    def _refuse(self, reason: str, member: str | None = None) -> DataError:
        named = f": member {member[:120]!r}" if member is not None else ":"
        return DataError(f"{self._where}{named} {reason}.")

    def _check(self) -> dict[str, _Member]:
        directory_start = self._check_end()
        try:
            infos = zipfile.ZipFile(self._file).infolist()
        except _READ_ERRORS as error:
            raise self._refuse(f"is not a zip file we can read ({error})") from None
        total = 0
        seen: set[str] = set()
        for info in infos:
            self._check_entry(info)
            if info.filename.casefold() in seen:
                raise self._refuse("is there twice", info.filename)
            seen.add(info.filename.casefold())
            total += info.file_size
        if total > self._limits.total_bytes:
            raise self._refuse(f"holds {total} bytes, more than the {self._limits.total_bytes} that it may hold")
        return self._place(infos, directory_start)

    def _check_end(self) -> int:
        """Byte at which the central directory starts, once the end record is seen to close the file
        exactly.
        """
        size = self._file.seek(0, io.SEEK_END)
        if size < _END.size:
            raise self._refuse("is not a zip file (too short)")
        end = size - _END.size
        self._file.seek(end)
        fields = _END.unpack(self._file.read(_END.size))
        if fields[0] != b"PK\x05\x06":
            raise self._refuse("is not a zip file, or has data behind its end record")
        _, disk, directory_disk, here, count, directory_size, directory_start, comment = fields
        if comment or disk or directory_disk or here != count:
            raise self._refuse("has a comment or several disks, which we do not read")
        if end >= _END64_LOCATOR.size + _END64.size:
            self._file.seek(end - _END64_LOCATOR.size)
            locator = _END64_LOCATOR.unpack(self._file.read(_END64_LOCATOR.size))
            if locator[0] == b"PK\x06\x07":
                end -= _END64_LOCATOR.size + _END64.size
                self._file.seek(end)
                record = _END64.unpack(self._file.read(_END64.size))
                if locator[2] != end or record[0] != b"PK\x06\x06" or record[1] != _END64.size - 12:
                    raise self._refuse("has a damaged 64-bit end record")
                count = record[7] if count == 0xFFFF else count  # the short fields of a large file say "see there"
                directory_size = record[8] if directory_size == 0xFFFFFFFF else directory_size
                directory_start = record[9] if directory_start == 0xFFFFFFFF else directory_start
                if (record[7], record[8], record[9]) != (count, directory_size, directory_start):
                    raise self._refuse("has two end records that disagree")
        if count > self._limits.members or directory_size > count * (1 << 12):
            raise self._refuse(f"declares {count} members in a directory of {directory_size} bytes: too many")
        if directory_start + directory_size != end:
            raise self._refuse("has data before its first member or between directory and end record")
        if not count:
            raise self._refuse("is an empty zip")
        return int(directory_start)

    def _check_entry(self, info: zipfile.ZipInfo) -> None:
        name, limits = info.orig_filename, self._limits
        parts = name.split("/")
        if name != info.filename or not name.isprintable() or not name:
            raise self._refuse("has a name with control characters", name)
        if "\\" in name or ":" in name or name.startswith(("/", "~")) or any(p in ("", ".", "..") for p in parts):
            raise self._refuse("has a name that is not a plain relative file name", name)
        if info.flag_bits & _ENCRYPTED_FLAGS:
            raise self._refuse("is encrypted", name)
        allowed = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) if limits.compressed else (zipfile.ZIP_STORED,)
        if info.compress_type not in allowed:
            raise self._refuse(f"is compressed with method {info.compress_type}, which we do not read", name)
        if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
            raise self._refuse("is stored, but its two declared sizes differ", name)
        if info.file_size > limits.member_bytes:
            raise self._refuse(f"declares {info.file_size} bytes, more than the {limits.member_bytes} allowed", name)
        if info.file_size > 1 << 20 and info.file_size > limits.ratio * info.compress_size:
            ratio = info.file_size / max(info.compress_size, 1)
            raise self._refuse(f"is packed {ratio:.0f} to 1, more than {limits.ratio:.0f} to 1: a zip bomb", name)

    def _place(self, infos: list[zipfile.ZipInfo], directory_start: int) -> dict[str, _Member]:
        """Members by name; they must fill the file from byte 0 to the directory without gap or overlap."""
        starts: dict[str, int] = {}
        ordered = sorted(infos, key=lambda info: info.header_offset)
        position = 0
        followers = [*[info.header_offset for info in ordered[1:]], directory_start]
        for info, follower in zip(ordered, followers, strict=True):
            if info.header_offset != position:
                raise self._refuse("overlaps another, or has unlisted data before it", info.filename)
            start = self._local_end(info)
            stop = start + info.compress_size
            slack = follower - stop
            if slack and not (info.flag_bits & _DESCRIPTOR_FLAG and slack in _DESCRIPTOR_SIZES):
                raise self._refuse("overlaps another, or has unlisted data behind it", info.filename)
            starts[info.filename] = start
            position = follower
        return {
            i.filename: _Member(
                starts[i.filename],
                i.compress_size,
                i.file_size,
                i.CRC,
                i.compress_type == zipfile.ZIP_DEFLATED,
            )
            for i in infos
        }

    def _local_end(self, info: zipfile.ZipInfo) -> int:
        """Where a member's bytes start: behind its local header, which must agree with the directory."""
        self._file.seek(info.header_offset)
        header = self._file.read(_LOCAL_HEADER)
        if len(header) != _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
            raise self._refuse("has no local header", info.filename)
        flags, method = struct.unpack_from("<2H", header, 6)
        packed, size, name_size, extra_size = struct.unpack_from("<2L2H", header, 18)
        name = self._file.read(name_size).decode("utf-8" if flags & 0x800 else "cp437", errors="replace")
        if name != info.filename or method != info.compress_type or flags != info.flag_bits:
            raise self._refuse("has a local header that disagrees with the directory", info.filename)
        plain = not flags & _DESCRIPTOR_FLAG and 0xFFFFFFFF not in (packed, size)
        if plain and (packed, size) != (info.compress_size, info.file_size):
            raise self._refuse("declares other sizes in its local header than in the directory", info.filename)
        return info.header_offset + _LOCAL_HEADER + int(name_size) + int(extra_size)
