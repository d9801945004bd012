"""What checkpoints cost training, and what verification at a resume costs.

A state is captured while training stands still, and written, fsynced, committed and read back beside the iterations
that follow. Measured are how long a save blocks the loop, how long it takes until the checkpoint is committed, and, for
what the thread takes of the processor, the mean length of an iteration; the same with `checkpoint.background: false`.
`--fsync` makes every wait for the disk that much longer.

    python benchmarks/checkpoint_cost.py
    python benchmarks/checkpoint_cost.py --fsync 0.1 --every 10
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")

import torch
from lightning.pytorch import Callback, Trainer

from lit_rl import PPO, CheckpointConfig, EnvConfig, NormalizeConfig, begin
from lit_rl.callbacks.checkpointing import Checkpointer
from lit_rl.checkpoint.reader import load_lightning, load_rank, verify
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.cli.quiet import quiet

WORK: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"n_envs": 8, "n_steps": 128, "batch_size": 256, "n_epochs": 4, "normalize": False},
    "HalfCheetah-v5": {"n_envs": 8, "n_steps": 256, "batch_size": 256, "n_epochs": 10, "normalize": True},
}
ITERATIONS = 60


class Timed:
    """Times the saves of a run, but for the last, by standing around the checkpointer's own methods."""

    def __init__(self, checkpointer: Checkpointer) -> None:
        self.blocked: list[float] = []
        self.committed: list[float] = []
        begun: list[float] = []
        save, commit = checkpointer.save, checkpointer._commit

        def timed_save(*args: Any, wait: bool = True) -> None:
            begun.append(time.perf_counter())
            save(*args, wait=wait)
            if not wait:
                self.blocked.append(time.perf_counter() - begun[-1])

        def timed_commit(*args: Any) -> None:
            start = begun[-1]
            commit(*args)
            self.committed.append(time.perf_counter() - start)

        checkpointer.save = timed_save  # type: ignore[method-assign]
        checkpointer._commit = timed_commit  # type: ignore[method-assign]


class Iterations(Callback):
    """Takes the time at the end of every iteration."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_start(self, *args: Any) -> None:
        self.ends.append(time.perf_counter())

    def lengths(self) -> list[float]:
        """Of all but the first, from the end of one to the end of the next."""
        return [end - begin for begin, end in pairwise(self.ends[1:])]


def measure(env: str, root: Path, background: bool, every: int) -> None:
    work = WORK[env]
    steps = work["n_envs"] * work["n_steps"]
    normalize = NormalizeConfig(obs=work["normalize"], reward=work["normalize"])
    module = PPO(
        env=EnvConfig(id=env, n_envs=work["n_envs"], backend="sync", normalize=normalize),
        n_steps=work["n_steps"], batch_size=work["batch_size"], n_epochs=work["n_epochs"],
        total_timesteps=steps * ITERATIONS, seed=1,
    )  # fmt: skip
    config = CheckpointConfig(every_timesteps=every * steps, keep_last=3, background=background)
    run = begin(module, root=root, name=env, checkpoint=config)
    assert run is not None
    checkpointer = next(callback for callback in run.callbacks if isinstance(callback, Checkpointer))
    timed, iterations = Timed(checkpointer), Iterations()
    trainer = Trainer(
        callbacks=[iterations, *run.callbacks], logger=run.loggers, max_epochs=-1, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, accelerator="cpu",
    )  # fmt: skip
    out, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115
    try:
        with run:
            trainer.fit(module, weights_only=True)
    finally:
        sys.stdout = out
    newest = CheckpointStore(run.directory / "checkpoints").inventory().checkpoints[0]
    size = sum(entry.size for entry in newest.manifest.files.values())
    start = time.perf_counter()
    verify(newest.path)
    checked = time.perf_counter() - start
    start = time.perf_counter()
    load_lightning(newest), load_rank(newest, 0)
    loaded = time.perf_counter() - start
    how = "background" if background else "training waits"
    length = f"an iteration of {steps:,} timesteps {statistics.mean(iterations.lengths()) * 1e3:.0f} ms"
    if not timed.blocked:
        print(f"{env}, no saves: {length}", flush=True)
        return
    committed = timed.committed[: len(timed.blocked)]
    print(
        f"{env}, {how}: {size / 1e3:.0f} kB; the loop blocked {spread(timed.blocked)}; committed after "
        f"{spread(committed)}; {length}; at a resume: verification {checked * 1e3:.1f} ms, loading "
        f"{loaded * 1e3:.1f} ms",
        flush=True,
    )


def spread(seconds: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(seconds) * 1e3:.1f} ms ({min(seconds) * 1e3:.1f} to {max(seconds) * 1e3:.1f})"


def slow_down(seconds: float) -> None:
    """Let every wait for the disk take longer."""
    inner = os.fsync

    def fsync(descriptor: int) -> None:
        time.sleep(seconds)
        inner(descriptor)

    os.fsync = fsync


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fsync", type=float, default=0.0, help="seconds that each wait for the disk takes longer")
    parser.add_argument("--every", type=int, default=5, help="iterations from one save to the next")
    arguments = parser.parse_args()
    if arguments.fsync:
        slow_down(arguments.fsync)
    quiet()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        for env in WORK:
            measure(env, Path(root), background=True, every=ITERATIONS)
            measure(env, Path(root), background=True, every=arguments.every)
            measure(env, Path(root), background=False, every=arguments.every)


if __name__ == "__main__":
    main()
