"""Whether this machine has the memory that a replay takes, and sizes for people."""

from __future__ import annotations

from pathlib import Path

from lit_rl.errors import ConfigError


def refuse_too_large(transitions: int, needed: int) -> None:
    """Refuse a replay that would not fit into what is free, as far as the machine says.

    Args:
        transitions: of `model.buffer_size`.
        needed: bytes that they take.

    Raises:
        ConfigError: says how many would fit.
    """
    free = _free_memory()
    if free is not None and needed > free:
        raise ConfigError(
            f"model.buffer_size: {transitions:,} transitions need {size_text(needed)}, and {size_text(free)} of "
            f"memory are free; {int(transitions * free / needed * 0.8):,} would fit."
        )


def _free_memory() -> int | None:
    """Bytes that this machine can give, as far as it says."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if found is None else int(found) * 1024


def size_text(n: float) -> str:
    """Bytes with their unit."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            break
        n /= 1024
    return f"{n:,.0f} {unit}" if n >= 10 or unit == "bytes" else f"{n:,.1f} {unit}"
