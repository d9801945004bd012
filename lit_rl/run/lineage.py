"""Where a run came from: its parents, and every process lifetime it had."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lit_rl.checkpoint.files import write_json
from lit_rl.checkpoint.manifest import library_versions
from lit_rl.errors import DataError
from lit_rl.run.directory import LINEAGE

ENDS = ("finished", "stop_on_reward", "early_stopping")
"""First words of the causes with which a run has come to its end; any other has stopped it on its way."""


def is_end(cause: str | None) -> bool:
    """Whether a run with this cause has come to its end, and a resume of it trains nothing."""
    return str(cause).partition(" ")[0] in ENDS


def digest_of(path: Path) -> str:
    """What the lineage knows a file by: its sha256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class Segment:
    """One process lifetime of a run.

    Args:
        number: from 1.
        mode: how it began: `fresh`, `warmstart` or `resume`.
        start: UTC time.
        from_timesteps: the run's timestep then.
        target: the run's target then.
        checkpoint: name of the checkpoint it resumed from.
        command: the command line.
        host: the machine's name.
        versions: of Python and the libraries.
        config_changes: settings that differ from the segment before, as `key: old -> new`.
        end: UTC time; `None` while it lasts, and for good if the process was killed.
        to_timesteps: the run's timestep at its end.
        cause: why it ended: `finished`, `stop_on_reward`, `early_stopping (METRIC)`, `pause_at`, a signal's name,
            `error: ...`, or `killed`.
        requeue: what a command with `requeue: true` asked for, so that its next start knows its own run.
        schedule: what schedules do from here on, where the target moved; it holds also if the segment saved nothing.
        additional: the `resume.additional_timesteps` it was given, and `counted_from` which timestep.
    """

    number: int
    mode: str
    start: str
    from_timesteps: int
    target: int
    checkpoint: str | None
    command: list[str]
    host: str
    versions: dict[str, str]
    config_changes: list[str] = field(default_factory=list)
    end: str | None = None
    to_timesteps: int | None = None
    cause: str | None = None
    requeue: str | None = None
    schedule: str | None = None
    additional: int | None = None
    counted_from: int | None = None


@dataclass
class Lineage:
    """A run's history, in ``lineage.json``.

    Args:
        run_id: names the run for good, wherever its directory goes.
        name: the run's name.
        mode: how the run began: `fresh`, `warmstart`, `fork`, or `adopt` where it goes on with a run of
            stable-baselines3's.
        parents: what a warmstart read or a fork goes on from: path, digest, run id and timesteps where known.
        segments: in order.
    """

    run_id: str
    name: str
    mode: str
    parents: list[dict[str, Any]] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)

    @classmethod
    def new(cls, name: str, mode: str, parents: list[dict[str, Any]]) -> Lineage:
        """The history of a run that begins now."""
        return cls(uuid.uuid4().hex, name, mode, parents)

    @classmethod
    def read(cls, directory: Path) -> Lineage:
        """The history that lies in a run directory.

        Raises:
            DataError: there is none, or it is damaged.
        """
        file = directory / LINEAGE
        try:
            plain = json.loads(file.read_text())
            return cls(**{**plain, "segments": [Segment(**segment) for segment in plain["segments"]]})
        except FileNotFoundError:
            raise DataError(f"{directory} is not a run directory: it has no {LINEAGE}.") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DataError(f"{file} is damaged: {error}.") from None

    def write(self, directory: Path) -> None:
        """Put the history into the run directory."""
        write_json(directory / LINEAGE, asdict(self))

    @property
    def adopted(self) -> str | None:
        """Digest of the zip that the run goes on from; `None` for one that began otherwise."""
        return self.parents[0].get("sha256") if self.mode == "adopt" and self.parents else None

    @property
    def next_segment(self) -> int:
        """Number of the segment that comes next. A fork counts on from the segment that wrote its checkpoint."""
        before = [segment.number for segment in self.segments[-1:]]
        if self.mode == "fork":
            before += [int(parent["segment"]) for parent in self.parents]
        return max(before, default=0) + 1

    def ended_at(self, timesteps: int) -> bool:
        """Whether the last segment ended by itself at this timestep, so that nothing came after it."""
        last = self.segments[-1] if self.segments else None
        return last is not None and last.end is not None and last.to_timesteps == timesteps

    def begin_segment(
        self,
        mode: str,
        from_timesteps: int,
        target: int,
        checkpoint: str | None,
        config_changes: list[str],
        requeue: str | None = None,
        **asked: Any,
    ) -> Segment:
        """Add a segment; one before it that has no end was killed. `asked`: further fields of it."""
        for segment in self.segments:
            segment.cause = segment.cause or "killed"
        segment = Segment(
            number=self.next_segment,
            mode=mode,
            start=_now(),
            from_timesteps=from_timesteps,
            target=target,
            checkpoint=checkpoint,
            command=list(sys.argv),
            host=socket.gethostname(),
            versions=library_versions(),
            config_changes=config_changes,
            requeue=requeue,
            **asked,
        )
        self.segments.append(segment)
        return segment

    def end_segment(self, timesteps: int, cause: str) -> None:
        """Close the last segment."""
        segment = self.segments[-1]
        segment.end, segment.to_timesteps, segment.cause = _now(), timesteps, cause
