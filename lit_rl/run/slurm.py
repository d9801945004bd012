"""Asking SLURM to start the job again."""

from __future__ import annotations

import os
import subprocess
import sys


def job_id() -> str | None:
    """The job this process belongs to, as `scontrol` names it; `None` outside SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def ask_for_requeue() -> None:
    """Run ``scontrol requeue`` for this job, if it is one. Call it once the state is saved, not before."""
    job = job_id()
    if job is None:
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
