"""Who has started the processes of a run: this one, torchrun, SLURM, or somebody by hand; and which of them this is.

What a launcher says counts only where it speaks of this run. Variables of a job, a notebook or another program's ranks
do not make one process a rank among several: how many there are is what the Trainer says.
"""

from __future__ import annotations

import os
import time
from typing import Any

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed import is_torchelastic_launched

from lit_rl.errors import ConfigError

_HEARD_S = 3.0
"""Launchers end all tasks once one has failed: so long do the others wait for the one that says why."""


def size_of(trainer: Trainer) -> int:
    """How many processes the Trainer speaks of, whatever number a launcher has started."""
    strategy: Any = trainer.strategy
    return strategy.num_processes * strategy.num_nodes if isinstance(strategy, DDPStrategy) else 1


def rank_of(trainer: Trainer) -> int:
    """The rank of this process among those of the Trainer, connected or not."""
    strategy: Any = trainer.strategy
    if size_of(trainer) == 1:
        return 0
    rank: int = strategy.node_rank * strategy.num_processes + strategy.local_rank
    return rank


def tell_lightning(rank: int) -> None:
    """Let Lightning's loggers and warnings speak on the run's first rank, whatever it has read from variables."""
    rank_zero_only.rank = rank  # type: ignore[attr-defined]


class SlurmTasks(SLURMEnvironment):
    """The tasks of an ``srun`` as ranks, however their number was asked for; `check_world` compares it."""

    def __init__(self) -> None:
        self.auto_requeue, self.requeue_signal = False, None

    def local_rank(self) -> int:
        return int(os.environ.get("SLURM_LOCALID", os.environ["SLURM_PROCID"]))

    def node_rank(self) -> int:
        return int(os.environ.get("SLURM_NODEID", 0))

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Done by `check_world`."""


def cluster_environment() -> ClusterEnvironment | None:
    """The launcher to give to a Trainer inside a job of SLURM; `None` where Lightning finds it by itself.

    A shell, a notebook or a batch script inside a job has started no ranks, and a job of one task neither.
    """
    tasks = os.environ.get("SLURM_NTASKS", "")
    if not tasks or is_torchelastic_launched():
        return None
    several = tasks.isdecimal() and int(tasks) > 1 and os.environ.get("SLURM_PROCID", "").isdecimal()
    return SlurmTasks() if several and "LOCAL_RANK" not in os.environ else LightningEnvironment()


def check_world(trainer: Trainer | None) -> None:
    """Refuse a Trainer whose processes are not those that a launcher has started.

    Raises:
        ConfigError: names both numbers and the fix. One process says it, where they can be told apart.
    """
    size = 1 if trainer is None else size_of(trainer)
    environment = None if trainer is None else getattr(trainer.strategy, "cluster_environment", None)
    if is_torchelastic_launched():
        started, nodes = _number("WORLD_SIZE", 1), _number("GROUP_WORLD_SIZE", 1)
        if started != size:
            each = _number("LOCAL_WORLD_SIZE", started)
            fix = f"set trainer.devices: {each}" + (f" and trainer.num_nodes: {nodes}" if nodes > 1 else "")
            _refuse("torchrun", started, trainer, fix, _number("RANK", 0))
    elif isinstance(environment, SLURMEnvironment) and size > 1:
        started, nodes = _number("SLURM_NTASKS", 1), _number("SLURM_NNODES", 1)
        if started != size:
            fix = f"set trainer.devices: {started // nodes}" + (f" and trainer.num_nodes: {nodes}" if nodes > 1 else "")
            fix = f"start as many tasks, with srun --ntasks={size}" if started % nodes else fix
            fix += ", or trainer.devices: 1 for a run in each task"
            _refuse("SLURM", started, trainer, fix, environment.global_rank())
    if trainer is not None and size > 1:
        strategy: Any = trainer.strategy
        for name, rank, count, setting in (
            ("local rank", strategy.local_rank, strategy.num_processes, "trainer.devices"),
            ("number of this node", strategy.node_rank, strategy.num_nodes, "trainer.num_nodes"),
        ):
            if not 0 <= rank < count:
                raise ConfigError(
                    f"{setting} is {count}, and the environment (LOCAL_RANK, NODE_RANK) says that the {name} is "
                    f"{rank}, counted from 0; unset the variable, or set {setting}: {rank + 1}."
                )


def _refuse(launcher: str, started: int, trainer: Trainer | None, fix: str, rank: int) -> None:
    have = "no Trainer was given to begin()"
    if trainer is not None:
        devices = size_of(trainer) // trainer.num_nodes
        have = f"trainer.devices is {devices}"
        if trainer.num_nodes > 1:
            have = f"trainer.devices times trainer.num_nodes is {devices} times {trainer.num_nodes}"
    error = ConfigError(f"{launcher} has started {started} processes, and {have}; {fix}.")
    if rank:
        error.reported = True
        time.sleep(_HEARD_S)
    raise error


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default
