"""`requeue: true`: the very same command begins a run, goes on with it, and says when it is done.

What it does with what it finds is the table in docs/modes.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from lit_rl.errors import DataError, Held
from lit_rl.run.config import Mode, ResumeConfig
from lit_rl.run.directory import RunLock, has_checkpoint, versions_of
from lit_rl.run.lineage import Lineage, is_end
from lit_rl.run.sources import run_of


@dataclass(frozen=True)
class Requeued:
    """How a command with `requeue: true` begins.

    Args:
        mode: `resume` where its own run has been found, else the one it was given.
        resume: how to go on.
        order: what the command asks for, as its segments remember it.
        newest: newest run directory of its name, when it looked.
        note: what it found, for the banner.
    """

    mode: Mode
    resume: ResumeConfig
    order: str
    newest: Path | None
    note: str | None = None


def look_for_own(mode: Mode, name: str, root: Path, resume: ResumeConfig) -> Requeued:
    """Find the run that an earlier start of this command has begun.

    Raises:
        Held: it is being trained by another process.
    """
    asked = [mode, resume.checkpoint, resume.total_timesteps, resume.additional_timesteps]
    order = json.dumps(asked + ["fork"] * resume.fork)
    newest = next(iter(versions_of(root, name)), None)
    own = newest if mode != "resume" or resume.fork else run_of(resume.checkpoint, root, name)
    begin = Requeued(mode, resume, order, newest)
    if own is None:
        return begin
    try:
        lineage = Lineage.read(own)
    except DataError:
        return begin
    RunLock(own).release()  # refuses while somebody trains it
    if mode == "resume" and lineage.segments[-1].requeue != order:
        return begin  # the run is there, and this command has not yet gone on with it
    if not has_checkpoint(own):
        return replace(begin, note=f"{own} ended before its first checkpoint; begun again")
    last = lineage.segments[-1]
    target = last.target if mode == "resume" and not is_end(last.cause) else None  # not twice additional_timesteps
    going_on = replace(resume, checkpoint=str(own), total_timesteps=target, additional_timesteps=None, fork=False)
    return Requeued("resume", going_on, order, newest, note=f"requeue: goes on with {own}")


def claim_name(root: Path, name: str, newest: Path | None) -> RunLock:
    """Hold the name of a requeued run, so that two first starts do not begin two.

    Raises:
        Held: another process holds it, or has begun the run in the meantime.
    """
    (root / name).mkdir(parents=True, exist_ok=True)
    lock = RunLock(root / name)
    if next(iter(versions_of(root, name)), None) != newest:
        lock.release()
        raise Held(f"another process has begun the run '{name}' in this moment; start again to go on with it.")
    return lock
