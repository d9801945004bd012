"""From a Trainer to its ranks: the processes are started and connected before the run decides how it begins.

Lightning would do so inside `fit`: every process would make its own plan, its own run directory and its own errors.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from lit_rl.errors import ConfigError
from lit_rl.ranks.group import Ranks

several = False
"""Whether this process is one of several ranks."""

_PARENT = "LIT_RL_LAUNCHED_BY"
"""Where a process finds the id of the one that has started it as a rank."""


def launched_rank() -> int:
    """This process's rank by what its launcher has set, before anything is connected."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name])
    return 0


def check_strategy(trainer: Trainer) -> None:
    """Refuse strategies whose processes cannot carry a run.

    Raises:
        ConfigError: names the strategy and the one to use.
    """
    strategy: Any = trainer.strategy
    launcher = strategy.launcher
    if isinstance(strategy, SingleDeviceStrategy):
        return
    scripts = launcher is None or isinstance(launcher, _SubprocessScriptLauncher)
    if type(strategy) is not DDPStrategy or not scripts:
        method = getattr(strategy, "_start_method", None)
        name = type(strategy).__name__ if method in (None, "popen") else f"ddp_{method}"
        raise ConfigError(
            f"trainer.strategy: {name} is not supported; use ddp (processes of their own) for several ranks, or auto "
            "for one."
        )


def launch(trainer: Trainer) -> Ranks:
    """Start the Trainer's processes, unless something else has, and connect them.

    Returns:
        this process among them; alone, where the Trainer has one.
    """
    check_strategy(trainer)
    # Signals are the run's: Lightning's handlers save at any moment, or talk to other ranks from inside a handler.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    if trainer.world_size == 1:
        return Ranks()
    global several
    several = True
    strategy: Any = trainer.strategy
    launcher: Any = strategy.launcher
    children: list[Any] = []
    if launcher is not None:
        environment = launcher.cluster_environment
        environment.validate_settings(num_devices=launcher.num_processes, num_nodes=launcher.num_nodes)
        if not environment.creates_processes_externally:
            # Not launcher.launch(): that one's observer kills this process as soon as a child exits with 75.
            os.environ[_PARENT] = str(os.getpid())
            launcher._call_children_scripts()
            children = launcher.procs

    def end_children() -> None:
        for child in children:
            child.kill()

    with _leaving_with_the_others(children, end_children):
        strategy.setup_environment()
        return Ranks(trainer.global_rank, trainer.world_size, strategy.num_processes, end_children)


def leave(code: int) -> NoReturn:
    """End a process of several ranks: threads of its connections may outlive the interpreter, and would abort it."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextlib.contextmanager
def _leaving_with_the_others(children: list[Any], end_children: Callable[[], None]) -> Iterator[None]:
    """While ranks wait for each other to connect: leave when a child or the process that started this one has ended."""
    connected, parent = threading.Event(), int(os.environ.get(_PARENT, 0))
    is_child = bool(parent) and parent != os.getpid()

    def look() -> None:
        while not connected.wait(0.2):
            ended = [(i + 1, child.returncode) for i, child in enumerate(children) if child.poll() is not None]
            if ended:
                rank, code = ended[0]
                print(f"error: rank {rank} ended with exit code {code} before all had connected.", file=sys.stderr)
                end_children()
            if ended or (is_child and os.getppid() != parent):
                os._exit(1)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        connected.set()
        thread.join()
