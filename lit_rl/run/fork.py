"""A fork: a new run, in a directory of its own, that goes on exactly from a checkpoint of another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from lit_rl.checkpoint.commit import staging_path
from lit_rl.checkpoint.files import make_directory, named, sync_directory, write_durably
from lit_rl.checkpoint.reader import verify
from lit_rl.run.aside import copy_logs
from lit_rl.run.directory import CHECKPOINTS
from lit_rl.run.planned import Plan


@contextlib.contextmanager
def fork_into(plan: Plan, directory: Path) -> Iterator[None]:
    """Give a new run the logs that lead to its checkpoint, and the checkpoint: it needs nothing of the other run.

    The checkpoint comes last, after what is written in the context: a directory that has one is a whole run, so a kill
    in between leaves nothing that could be taken for one.

    Raises:
        LitRLError: the disk said no, or the copy is not right.
    """
    assert plan.checkpoint is not None
    assert plan.directory is not None
    copy_logs(plan.directory, directory)
    yield
    final = directory / CHECKPOINTS / plan.checkpoint.name
    make_directory(final.parent)
    staging = staging_path(final)
    with named(staging):
        staging.mkdir()
        for file in sorted(plan.checkpoint.path.iterdir()):
            write_durably(staging / file.name, file.read_bytes())
        sync_directory(staging)
        os.rename(staging, final)
    sync_directory(final.parent)
    verify(final).release()
