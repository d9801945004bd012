"""What one checkpoint costs training, and what verification at a resume costs.

Training stands still while a checkpoint is saved, so its cost is the time of one save: the state taken, written, waited
for, committed, and read back.

    python benchmarks/checkpoint_cost.py
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import warnings
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
ITERATIONS = 30


class Timed(Callback):
    """Times every save by standing around the checkpointer's own method."""

    def __init__(self, checkpointer: Checkpointer) -> None:
        self.times: list[float] = []
        inner = checkpointer.save

        def save(*words: Any) -> None:
            start = time.perf_counter()
            inner(*words)
            self.times.append(time.perf_counter() - start)

        checkpointer.save = save  # type: ignore[method-assign]


def measure(env: str, root: Path) -> None:
    work = WORK[env]
    steps = work["n_envs"] * work["n_steps"]
    normalize = NormalizeConfig(obs=work["normalize"], reward=work["normalize"])
    module = PPO(
        env=EnvConfig(id=env, n_envs=work["n_envs"], backend="sync", normalize=normalize),
        n_steps=work["n_steps"], batch_size=work["batch_size"], n_epochs=work["n_epochs"],
        total_timesteps=steps * ITERATIONS, seed=1,
    )  # fmt: skip
    run = begin(module, root=root, name=env, checkpoint=CheckpointConfig(every_timesteps=1, keep_last=3))
    assert run is not None
    checkpointer = next(callback for callback in run.callbacks if isinstance(callback, Checkpointer))
    timed = Timed(checkpointer)
    trainer = Trainer(
        callbacks=run.callbacks, logger=run.loggers, max_epochs=-1, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, accelerator="cpu",
    )  # fmt: skip
    out, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115
    start = time.perf_counter()
    try:
        with run:
            trainer.fit(module, weights_only=True)
    finally:
        sys.stdout = out
    wall = time.perf_counter() - start
    newest = CheckpointStore(run.directory / "checkpoints").inventory().checkpoints[0]
    size = sum(entry.size for entry in newest.manifest.files.values())
    start = time.perf_counter()
    verify(newest.path)
    checked = time.perf_counter() - start
    start = time.perf_counter()
    load_lightning(newest), load_rank(newest, 0)
    loaded = time.perf_counter() - start
    iteration = (wall - sum(timed.times)) / ITERATIONS
    print(
        f"{env}: one save {statistics.median(timed.times) * 1e3:.1f} ms ({min(timed.times) * 1e3:.1f} to "
        f"{max(timed.times) * 1e3:.1f}) of {size / 1e3:.0f} kB, an iteration of {steps:,} timesteps "
        f"{iteration * 1e3:.0f} ms; at a resume: verification {checked * 1e3:.1f} ms, loading {loaded * 1e3:.1f} ms",
        flush=True,
    )


def main() -> None:
    quiet()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        for env in WORK:
            measure(env, Path(root))


if __name__ == "__main__":
    main()
