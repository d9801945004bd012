"""A contender's process: told what to do by lines of JSON on stdin, answers by lines of JSON on stdout.

    python -m contenders.worker FAMILY WORK CORES ACCELERATOR

A request is {"units": 3, "backend": "sync"}, its answer {"timesteps": 3072, "seconds": 0.2} with, once, "versions".
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import sys
import traceback
import warnings

from contenders.works import SCALING, WORKS

PACKAGES = ("lit-rl", "stable-baselines3", "sbx-rl", "torch", "jax", "gymnasium", "mujoco", "numpy")


def versions() -> dict[str, str]:
    """Of what is installed where this process runs."""
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def main(family: str, name: str, cores: str, accelerator: str) -> None:
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})  # before anything starts threads
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what is printed by others is no answer
    warnings.filterwarnings("ignore")
    import torch

    torch.set_num_threads(1)
    measure = importlib.import_module(f"contenders.{family}").measure
    for line in sys.stdin:
        request = json.loads(line)
        try:
            timesteps, seconds = measure({**WORKS, **SCALING}[name], request["units"], request["backend"], accelerator)
            answer = {"timesteps": timesteps, "seconds": seconds, "versions": versions()}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
