"""Files that a command writes where `--out` says."""

from __future__ import annotations

from pathlib import Path

from lit_rl.checkpoint.files import put
from lit_rl.errors import ConfigError


def check_free(files: list[Path], overwrite: bool, option: str = "--out") -> None:
    """Refuse files that are there already.

    Raises:
        ConfigError: one is, or its directory is not.
    """
    for file in files:
        if file.is_dir():
            raise ConfigError(f"{option}: {file} is a directory; name a file in it.")
        if not file.absolute().parent.is_dir():
            raise ConfigError(f"{option}: {file} lies in a directory that is not there; make it, or name another file.")
        if file.exists() and not overwrite:
            raise ConfigError(f"{option}: {file} is there already; name another file, or give --overwrite.")


def write_or_print(text: str, out: str | None, overwrite: bool) -> None:
    """Write a text whole where `--out` says, or print it.

    Raises:
        ConfigError: the file is there already, or its directory is not.
    """
    if out is None:
        print(text, end="")
        return
    file = Path(out)
    check_free([file], overwrite)
    put(file, text.encode())
    print(f"wrote {file}")
