"""A whole `fit` for the benchmarks of speed: what `begin` and Lightning's Trainer do around a module, and no output."""

from __future__ import annotations

import contextlib
import os
import tempfile

from lightning.pytorch import Callback, Trainer

from lit_rl import CheckpointConfig, RLModule, begin


def fit(module: RLModule, watch: Callback, accelerator: str) -> None:
    """Train a module to its target in a run directory that goes away afterwards."""
    with tempfile.TemporaryDirectory() as root, open(os.devnull, "w") as nowhere:
        run = begin(module, root=root, checkpoint=CheckpointConfig(every_timesteps=None))
        assert run is not None
        trainer = Trainer(
            callbacks=[watch, *run.callbacks], logger=run.loggers, max_epochs=-1, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, accelerator=accelerator, devices=1,
        )  # fmt: skip
        with contextlib.redirect_stdout(nowhere), run:
            trainer.fit(module, weights_only=True)
