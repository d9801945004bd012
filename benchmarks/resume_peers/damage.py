"""A checkpoint that is cut, or has one bit of its weights flipped."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from resume_peers.peers import Peer


def weights_file(peer: Peer, checkpoint: Path) -> Path:
    """The file with the weights: the checkpoint itself, or the one in it that its peer names, else the largest."""
    if checkpoint.is_file():
        return checkpoint
    files = [path for path in checkpoint.rglob(peer.weights) if path.is_file()]
    return max(sorted(files), key=lambda path: path.stat().st_size)


def cut(path: Path) -> None:
    """Leave half of its bytes."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Flip one bit of the exponent of a number in the middle of its largest tensor, the first of that size."""
    data = bytearray(path.read_bytes())
    begin, size = largest_tensor(bytes(data))
    where = begin + size // 2 // 4 * 4 + 3  # the highest byte of a little-endian float32
    data[where] ^= 0x02
    path.write_bytes(bytes(data))


def largest_tensor(data: bytes) -> tuple[int, int]:
    """Where the bytes of the largest tensor lie in a file of torch, in a zip that holds one, or in plain bytes."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return 0, len(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        policy = [each for each in members if each.filename == "policy.pth"]
        tensors = [each for each in members if "/data/" in each.filename]
        member = policy[0] if policy else max(tensors, key=lambda each: each.file_size)
    name, extra = (int.from_bytes(data[member.header_offset + at :][:2], "little") for at in (26, 28))
    begin = member.header_offset + 30 + name + extra
    if not policy:
        return begin, member.file_size
    inner, size = largest_tensor(data[begin : begin + member.file_size])
    return begin + inner, size
