"""Asking SLURM to start the job again."""

from __future__ import annotations

import os
import subprocess
import sys


def job_id() -> str | None:
    """The job this process belongs to, as `scontrol` names it; `None` outside SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


SCHEDULERS = ("SIGTERM", "SIGUSR1")
"""Signals by which a scheduler stops a job; SIGINT and SIGHUP are a person's and a terminal's."""
_SHELLS = ("bash", "sh", "zsh", "fish", "tcsh", "csh", "ksh", "interactive")
"""What SLURM calls a job that is somebody's shell."""


def is_interactive() -> bool:
    """Whether the job is somebody's session: starting it again would end the shell that this was typed into."""
    if os.environ.get("SLURM_JOB_NAME") in _SHELLS or any(name.startswith("SLURM_PTY_") for name in os.environ):
        return True
    try:
        return os.isatty(0)
    except OSError:
        return False


def ask_for_requeue(signal: str | None) -> None:
    """Run ``scontrol requeue`` for this job, if it is a batch job that its scheduler has stopped.

    Call it once the state is saved, not before.

    Args:
        signal: the signal that has stopped the run, by its name.
    """
    job = job_id()
    if job is None or signal not in SCHEDULERS or is_interactive():
        return
    command = ["scontrol", "requeue", job]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        problem = done.stderr.strip() if done.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem is None:
        print(f"requeue: asked SLURM to start job {job} again", flush=True)
    else:
        print(f"WARNING: `{' '.join(command)}` failed: {problem}; start the job again by hand.", file=sys.stderr)
