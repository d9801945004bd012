"""What one sees while a run goes: a bar on a terminal, and its levels if asked for; in a file a line now and then."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm
from tqdm.utils import _supports_unicode

from lit_rl.callbacks.config import View
from lit_rl.callbacks.levels_view import LevelsView
from lit_rl.callbacks.screen import Screen
from lit_rl.process import on_screen
from lit_rl.training.module import RLModule

_LINE_EVERY_S = 10.0
_LOOK_EVERY_S = 0.25
_SLOW = ("beginning", "updating", "evaluating")
"""What a run may be at for long without a step of its environments."""
_WIDE, _NARROW = 10, 4
_CTRL_C = 2
"""What a terminal writes behind the bar where Ctrl-C is pressed."""


class Progress(Callback):
    """Timesteps, speed and return. A bar where standard error is a terminal, else a line every ten seconds.

    A thread of its own looks at the run now and then, so that both go on within an iteration, which is not slowed.

    Args:
        view: `levels` shows above the bar what is played on which level.
        stopping: names the signal that has come, if one has: the terminal was told so below the picture.
    """

    def __init__(self, view: View = "bar", stopping: Callable[[], str | None] = lambda: None) -> None:
        self._view, self._stopping, self._told = view, stopping, False
        self._levels: LevelsView | None = None
        self._screen: Screen | None = None
        self._bar: Any = None
        self._last_line = time.monotonic()
        self._summary: list[str] = []
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._shown, self._terminal, self._initial = True, False, 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the place of Lightning's bar; without one (`enable_progress_bar: false`), show none."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        others = [each for each in callbacks if not isinstance(each, ProgressBar)]
        self._shown = len(others) < len(callbacks)
        trainer.callbacks = others  # type: ignore[attr-defined]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        if not (pl_module.ranks.is_first and self._shown):
            return
        terminal = self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._initial = pl_module.counters.timesteps
        if self._view == "levels" and pl_module.curriculum is not None:
            of = "" if pl_module.ranks.alone else " (rank 0)"
            self._levels = LevelsView(pl_module.curriculum, dict(pl_module.log_book.latest), of)
            self._screen = Screen(sys.stderr) if terminal and os.environ.get("TERM") != "dumb" else None
            if self._screen is not None:
                self._screen.take_over()  # here, where events are printed, and not in the thread that draws
        self._thread = threading.Thread(target=self._watch, args=(pl_module, terminal), daemon=True, name="progress")
        self._over.clear()
        self._thread.start()

    def _watch(self, module: RLModule, terminal: bool) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            with contextlib.suppress(OSError, ValueError):  # who reads may be gone; that ends no run
                if terminal:
                    self._bar = self._bar or _new_bar(module, self._initial, self._screen)
                    doing = _doing(module) if module.loop.phase in _SLOW else ""  # else the bar itself moves
                    self._bar.total = max(module.clock.target, module.play.timesteps)
                    self._bar.update(module.play.timesteps - self._bar.n)
                    self._show(module, doing)
                elif time.monotonic() - self._last_line >= _LINE_EVERY_S:
                    self._last_line = time.monotonic()
                    text = f"{module.play.timesteps:,} of {module.clock.target:,} timesteps"
                    print(", ".join([text, *(self._summary or [_doing(module)])]), flush=True)
                    if self._levels is not None and module.play.envs is not None:
                        print(f"  {self._levels.in_a_line(module.play.levels)}", flush=True)

    def _show(self, module: RLModule, doing: str = "", last: bool = False) -> None:
        """Draw the bar as it is now, and the levels above it."""
        if self._screen is None or self._levels is None:
            _describe(self._bar, self._summary, doing)
            self._bar.refresh()
            return
        if not self._told and self._stopping() is not None:
            self._told = True
            self._screen.leave()
        columns, rows = self._screen.size()
        self._bar.ncols = columns
        _describe(self._bar, self._summary, doing)
        lines = (
            []
            if module.play.envs is None
            else self._levels.lines(module.play.levels, columns, rows - 2, self._bar.ascii)
        )
        self._screen.draw([*lines, str(self._bar)], at_once=last)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        if not pl_module.ranks.is_first:
            return
        for line in _events(pl_module):
            tqdm.write(on_screen(line, sys.stdout))
            sys.stdout.flush()
        self._summary = _summary(pl_module)
        if self._levels is not None:
            self._levels.take(pl_module.iteration)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        self._close(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self, module: RLModule | None = None) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if module is not None and self._terminal and self._bar is None:
            self._bar = _new_bar(module, self._initial, self._screen)  # it was over before the thread had a look
        if self._bar is not None and module is not None:  # where it has ended
            if module.loop.finished:
                self._bar.total = module.counters.timesteps  # at or past the target: the bar is full
            self._bar.update(module.counters.timesteps - self._bar.n)
            with contextlib.suppress(OSError, ValueError):
                self._show(module, last=True)
        if self._screen is not None:
            self._screen.close()
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _new_bar(module: RLModule, initial: int, screen: Screen | None = None) -> Any:
    """The bar; with a screen it draws nothing itself, and is a line of that."""
    own: dict[str, Any] = {"dynamic_ncols": True}
    if screen is not None:
        own = {"file": _Nowhere(), "ncols": screen.size().columns, "ascii": not _supports_unicode(sys.stderr)}
    return tqdm(
        total=module.clock.target,
        initial=initial,
        unit="step",
        unit_scale=True,
        bar_format=_bar_format(_WIDE),
        **own,
    )


class _Nowhere(io.TextIOBase):
    """Forgets what is written to it."""

    def write(self, text: str) -> int:
        return len(text)


def _bar_format(width: int) -> str:
    return f"{{percentage:3.0f}}% |{{bar:{width}}}| {{n_fmt}}/{{total_fmt}}, {{remaining}} left{{postfix}}"


def _describe(bar: Any, summary: list[str], doing: str = "") -> None:
    """Put behind the bar what the terminal's line has room for, whole parts of it.

    What goes on is left out first; then the bar is shorter; then the speed is left out, then the rest from its end.
    """
    choices = [(_WIDE, [*summary, doing] if doing else summary), (_WIDE, summary), (_NARROW, summary)]
    choices += [(_NARROW, summary[1:end]) for end in range(len(summary), 0, -1)]
    now = bar.format_dict
    for width, parts in choices:
        text = ", ".join(parts)
        bar.bar_format = now["bar_format"] = _bar_format(width)
        line = bar.format_meter(**{**now, "ncols": None, "postfix": text})
        if now["ncols"] is None or len(line) + _CTRL_C <= now["ncols"]:
            break
    bar.set_postfix_str(text, refresh=False)


def _doing(module: RLModule) -> str:
    """What goes on within the iteration."""
    phase = module.loop.phase
    return f"update {module.counters.gradient_steps:,}" if phase == "updating" else phase


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
    return lines + [str(change) for change in iteration.level_changes]


def _summary(module: RLModule) -> list[str]:
    """Speed, then how good it is."""
    metrics = module.metrics
    parts = [f"{metrics['time/fps']:,.0f} fps"]
    if "rollout/ep_rew_mean" in metrics:
        parts.append(f"return {metrics['rollout/ep_rew_mean']:.4g}")
    if module.curriculum is not None:
        parts.append(module.curriculum.in_short())
    if "rollout/success_rate" in metrics:
        parts.append(f"success {metrics['rollout/success_rate']:.0%}")
    return parts
