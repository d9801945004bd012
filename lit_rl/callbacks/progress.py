"""What one sees while a run goes: a bar on a terminal, a line now and then in a file."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from lit_rl.training.module import RLModule

_LINE_EVERY_S = 10.0


class Progress(Callback):
    """Timesteps, speed and return. A bar where standard error is a terminal, else a line every ten seconds."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._last_line = time.monotonic()
        self._initial = 0
        self._shown = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the place of Lightning's bar; without one (`enable_progress_bar: false`), show none."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        others = [each for each in callbacks if not isinstance(each, ProgressBar)]
        self._shown = len(others) < len(callbacks)
        trainer.callbacks = others  # type: ignore[attr-defined]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        self._initial = pl_module.counters.timesteps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        if not trainer.is_global_zero:
            return
        for line in _events(pl_module):
            tqdm.write(line)
            sys.stdout.flush()
        if not self._shown:
            return
        if self._bar is None and sys.stderr.isatty():
            self._bar = self._new_bar(pl_module)
        if self._bar is not None:
            self._bar.set_postfix_str(_summary(pl_module), refresh=False)
            self._bar.update(pl_module.counters.timesteps - self._bar.n)
        elif time.monotonic() - self._last_line >= _LINE_EVERY_S:
            self._last_line = time.monotonic()
            print(
                f"{pl_module.counters.timesteps:,} of {pl_module.clock.target:,} timesteps, {_summary(pl_module)}",
                flush=True,
            )

    def _new_bar(self, module: RLModule) -> Any:
        return tqdm(
            total=module.clock.target,
            initial=self._initial,
            unit="step",
            unit_scale=True,
            dynamic_ncols=True,
            bar_format="{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} timesteps [{elapsed}<{remaining}{postfix}]",
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _events(module: RLModule) -> list[str]:
    """What happened in the last iteration that is worth a line of its own."""
    lines = []
    iteration = module.iteration
    if iteration.evaluation is not None:
        metrics = iteration.metrics
        line = f"evaluation at timestep {module.counters.timesteps:,}: mean return {metrics['eval/mean_reward']:.4g}"
        if "eval/success_rate" in metrics:
            line += f", success {metrics['eval/success_rate']:.0%}"
        lines.append(line + (", the best so far" if iteration.is_best else ""))
    if iteration.level_change is not None:
        lines.append(str(iteration.level_change))
    return lines


def _summary(module: RLModule) -> str:
    metrics = module.metrics
    parts = [f"{metrics['time/fps']:,.0f} steps/s"]
    if "rollout/ep_rew_mean" in metrics:
        parts.append(f"return {metrics['rollout/ep_rew_mean']:.4g}")
    if "rollout/success_rate" in metrics:
        parts.append(f"success {metrics['rollout/success_rate']:.0%}")
    if module.curriculum is not None:
        parts.append(f"level {module.curriculum.level}")
    return ", ".join(parts)
