"""The processes of the other ranks, as far as this machine can see them."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["gone", "stopped", "there"]


@dataclass(frozen=True)
class Peer:
    """The process of a rank.

    Args:
        pid: of the process.
        host: its machine's name, for people.
        machine: where its process id means something: a boot of a kernel and a namespace; empty where nothing is known.
    """

    pid: int
    host: str
    machine: str = ""

    @classmethod
    def own(cls) -> Peer:
        """This process."""
        return cls(os.getpid(), socket.gethostname(), _machine())

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def state(self) -> State | None:
        """What the system says of it; `None` where this machine cannot tell."""
        if not self.machine or self.machine != _machine():
            return None
        return state_of(self.pid)

    @property
    def cpu(self) -> int | None:
        """Processor time it has used up, in ticks; `None` where this machine cannot tell."""
        fields = _fields(self.pid) if self.machine and self.machine == _machine() else None
        return None if fields is None else int(fields[11]) + int(fields[12])


def state_of(pid: int) -> State:
    """What a process of this machine does."""
    fields = _fields(pid)
    if fields is None or fields[0] in "ZXx":
        return "gone"
    return "stopped" if fields[0] in "Tt" else "there"


def _fields(pid: int) -> list[str] | None:
    """``/proc/PID/stat`` from the state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
