"""Checkpoints and tensor files that somebody made on purpose, with digests that are right."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lit_rl.checkpoint.manifest import manifest_text


class Touch:
    """Unpickling this makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.mark), "w")


def forge(checkpoint: Path, name: str, data: bytes) -> None:
    """Replace a file of a checkpoint and make the manifest agree."""
    (checkpoint / name).write_bytes(data)
    fields = json.loads((checkpoint / "manifest.json").read_text())
    del fields["sha256"]
    fields["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (checkpoint / "manifest.json").write_text(manifest_text(fields))


def saved(state: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def members(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def zipped(content: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")  # duplicate names
        for name, data in content:
            archive.writestr(name, data)
    return buffer.getvalue()


def runs_code(honest: bytes, mark: Path) -> bytes:
    return saved({"state_dict": {}, "evil": Touch(mark)})


def runs_code_beside_honest_values(honest: bytes, mark: Path) -> bytes:
    state = torch.load(io.BytesIO(honest), weights_only=True)
    return saved({**state, "evil": Touch(mark)})


def deflated_bomb(honest: bytes, mark: Path) -> bytes:
    """256 MiB in 256 KiB, where a tensor's bytes belong."""
    content = members(honest)
    root = content[0][0].split("/")[0]
    return zipped([*content, (f"{root}/data/bomb", bytes(256 << 20))], zipfile.ZIP_DEFLATED)


def lying_size(honest: bytes, mark: Path) -> bytes:
    """A stored member that says it is 3 GiB."""
    data = bytearray(honest)
    central = data.index(b"PK\x01\x02")
    for offset in (20, 24):
        struct.pack_into("<L", data, central + offset, 3 << 30)
    return bytes(data)


def lying_tensor(honest: bytes, mark: Path) -> bytes:
    """A tensor of 4 GiB over four bytes."""
    content = members(saved({"state_dict": {"a": torch.zeros(1)}}))
    return zipped([(name, data.replace(b"K\x01", b"J\x00\x00\x00\x40")) for name, data in content])


def twice(honest: bytes, mark: Path) -> bytes:
    content = members(honest)
    pickle = next(item for item in content if item[0].endswith("data.pkl"))
    return zipped([*content, pickle])


def outside(honest: bytes, mark: Path) -> bytes:
    return zipped([*members(honest), ("../../outside", b"x")])


def trailing(honest: bytes, mark: Path) -> bytes:
    return honest + b"#!/bin/sh\n"


def leading(honest: bytes, mark: Path) -> bytes:
    return b"#!/bin/sh\n" + honest


HOSTILE = (
    runs_code, runs_code_beside_honest_values, deflated_bomb, lying_size, lying_tensor, twice, outside, trailing,
    leading,
)  # fmt: skip
"""Each makes hostile bytes out of an honest file; the ones that run code would make `mark`."""
