"""From a Trainer to its ranks: the processes are started and connected before the run decides how it begins.

Lightning would do so inside `fit`: every process would make its own plan, its own run directory and its own errors.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from lit_rl.errors import ConfigError
from lit_rl.ranks.config import RanksConfig
from lit_rl.ranks.group import Ranks
from lit_rl.ranks.launchers import check_world, rank_of, size_of, tell_lightning
from lit_rl.ranks.meeting import Meeting, free_place

several = False
"""Whether this process is one of several ranks."""

_children: list[Any] = []
"""Processes that this one has started as ranks; a script's next run has the same."""

_PARENT = "LIT_RL_LAUNCHED_BY"
"""Where a process finds the id of the one that has started it as a rank."""


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


def launch(
    trainer: Trainer | None, config: RanksConfig | None = None, asked: Callable[[], str | None] = lambda: None
) -> Ranks:
    """Start the Trainer's processes, unless something else has, and connect them.

    Args:
        trainer: whose processes they are; `None` for this one alone.
        config: how long to wait for each other.
        asked: the stop signal that has come, if one has.

    Returns:
        this process among them; alone, where the Trainer has one.

    Raises:
        ConfigError: other processes were started than the Trainer speaks of.
        LitRLError: they have not come together.
    """
    if trainer is not None:
        check_strategy(trainer)
        # Signals are the run's: Lightning's handlers save at any moment, or talk to others from inside a handler.
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    check_world(trainer)
    if trainer is None or size_of(trainer) == 1:
        tell_lightning(0)
        return Ranks()
    global several
    several = True
    strategy: Any = trainer.strategy
    launcher: Any = strategy.launcher
    place: Any = None
    if launcher is not None and not launcher.cluster_environment.creates_processes_externally:
        if "MASTER_PORT" not in os.environ and type(launcher.cluster_environment) is LightningEnvironment:
            place = free_place(launcher.cluster_environment.main_address)
            launcher.cluster_environment._main_port = place.port
        # Not launcher.launch(): that one's observer kills this process as soon as a child exits with 75.
        os.environ[_PARENT] = str(os.getpid())
        launcher._call_children_scripts()
        _children[:] = launcher.procs
    strategy.set_world_ranks()
    rank, parent = rank_of(trainer), int(os.environ.get(_PARENT, os.getpid()))
    tell_lightning(rank)

    def end_children() -> None:
        for child in _children:
            child.kill()

    environment = strategy.cluster_environment
    meeting = Meeting(
        rank,
        strategy.local_rank,
        size_of(trainer),
        environment.main_address,
        environment.main_port,
        _children,
        None if parent == os.getpid() else parent,
        asked,
        config or RanksConfig(),
        end_children,
        place,
    )
    try:
        watch = meeting.hold()
        device = None if strategy.root_device.type == "cpu" else strategy.root_device
        prepare = lambda: strategy.accelerator.setup_device(strategy.root_device)  # noqa: E731
        host = meeting.connect(strategy._get_process_group_backend(), device, prepare)
        strategy.setup_environment()  # finds the group that is there
    except BaseException:
        end_children()
        raise
    return Ranks(rank, size_of(trainer), strategy.num_processes, watch, host)


def leave(code: int) -> NoReturn:
    """End a process of several ranks: threads of its connections may outlive the interpreter, and would abort it."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
