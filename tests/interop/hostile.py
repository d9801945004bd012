"""Hostile files, made from honest ones."""

from __future__ import annotations

import base64
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path


class Touch:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


def evil_pickle(marker: Path, protocol: int = 2) -> bytes:
    return pickle.dumps(Touch(marker), protocol=protocol)


def evil_entry(marker: Path) -> dict[str, str]:
    text = base64.b64encode(evil_pickle(marker, 4)).decode()
    return {":type:": "<class 'function'>", ":serialized:": text}


def rezip(
    source: Path,
    target: Path,
    replace: dict[str, bytes] | None = None,
    extra: list[tuple[str, bytes]] | None = None,
) -> Path:
    """A copy of a zip with members replaced or added."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, (replace or {}).get(name, old.read(name)))
        for name, data in extra or []:
            new.writestr(name, data)
    return target


def with_settings(source: Path, target: Path, **changes: object) -> Path:
    """A copy of an agent's zip with settings changed or added."""
    with zipfile.ZipFile(source) as archive:
        data = json.loads(archive.read("data"))
    return rezip(source, target, {"data": json.dumps({**data, **changes}).encode()})
