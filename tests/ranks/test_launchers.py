"""Which process this is, whatever a job, a notebook or another program has put into the environment."""

from __future__ import annotations

import pytest
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer

from lit_rl.errors import ConfigError
from lit_rl.ranks import launchers
from lit_rl.ranks.launchers import SlurmTasks, check_world, cluster_environment, rank_of, size_of


def trainer(devices: int = 1, num_nodes: int = 1) -> Trainer:
    launcher = cluster_environment()
    plugins = [] if launcher is None else [launcher]
    strategy = "ddp" if devices * num_nodes > 1 else "auto"
    return Trainer(
        accelerator="cpu", devices=devices, num_nodes=num_nodes, strategy=strategy, plugins=plugins, logger=False
    )


def set_all(monkeypatch: pytest.MonkeyPatch, values: str) -> None:
    monkeypatch.setattr(launchers, "_HEARD_S", 0.0)
    for name, value in (each.split("=") for each in values.split()):
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "values",
    [
        "SLURM_PROCID=1", "RANK=1", "LOCAL_RANK=1", "NODE_RANK=3 WORLD_SIZE=8 RANK=2",
        "SLURM_NTASKS=4 SLURM_PROCID=2 SLURM_LOCALID=2 SLURM_NODEID=0", "SLURM_NTASKS=4", "JSM_NAMESPACE_RANK=2",
        "SLURM_NTASKS=4 SLURM_NTASKS_PER_NODE=4 SLURM_NNODES=1 SLURM_PROCID=3", "SLURM_NTASKS=1 SLURM_JOB_NAME=jupyter",
    ],
)  # fmt: skip
def test_one_process_is_the_first_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch, values: str) -> None:
    set_all(monkeypatch, values)
    one = trainer()
    check_world(one)
    assert (rank_of(one), size_of(one)) == (0, 1)


@pytest.mark.parametrize("values", ["SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_JOB_NAME=jupyter", "SLURM_NTASKS=4"])
def test_a_job_that_has_started_no_ranks_lets_the_run_start_its_own(
    monkeypatch: pytest.MonkeyPatch, values: str
) -> None:
    set_all(monkeypatch, values)
    two = trainer(2)
    check_world(two)
    assert isinstance(two.strategy.cluster_environment, LightningEnvironment)
    assert not two.strategy.cluster_environment.creates_processes_externally
    assert (rank_of(two), size_of(two)) == (0, 2)


def test_the_tasks_of_an_srun_are_ranks_however_they_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, "SLURM_NTASKS=4 SLURM_PROCID=3 SLURM_LOCALID=1 SLURM_NODEID=1 SLURM_NNODES=2")
    four = trainer(2, 2)
    check_world(four)
    assert isinstance(four.strategy.cluster_environment, SlurmTasks)
    assert (rank_of(four), size_of(four)) == (3, 4)


TORCHRUN = "TORCHELASTIC_RUN_ID=1 GROUP_RANK=0 LOCAL_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=29999"


@pytest.mark.parametrize(
    ("values", "devices", "nodes", "text"),
    [
        (f"{TORCHRUN} RANK=0 WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 GROUP_WORLD_SIZE=1", 1, 1,
         "torchrun has started 2 processes, and trainer.devices is 1; set trainer.devices: 2."),
        (f"{TORCHRUN} RANK=1 WORLD_SIZE=3 LOCAL_WORLD_SIZE=3 GROUP_WORLD_SIZE=1", 2, 1,
         "torchrun has started 3 processes, and trainer.devices is 2; set trainer.devices: 3."),
        (f"{TORCHRUN} RANK=0 WORLD_SIZE=4 LOCAL_WORLD_SIZE=2 GROUP_WORLD_SIZE=2", 2, 1,
         "set trainer.devices: 2 and trainer.num_nodes: 2."),
        ("SLURM_NTASKS=4 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0", 2, 1,
         "SLURM has started 4 processes, and trainer.devices is 2; set trainer.devices: 4, or trainer.devices: 1 for a "
         "run in each task."),
        ("LOCAL_RANK=5", 2, 1, "trainer.devices is 2, and the environment (LOCAL_RANK, NODE_RANK) says"),
        ("NODE_RANK=2 LOCAL_RANK=0", 1, 2, "trainer.num_nodes is 2, and the environment (LOCAL_RANK, NODE_RANK) says"),
    ],
)  # fmt: skip
def test_other_processes_than_the_trainer_speaks_of_are_a_mistake(
    monkeypatch: pytest.MonkeyPatch, values: str, devices: int, nodes: int, text: str
) -> None:
    set_all(monkeypatch, values)
    with pytest.raises(ConfigError) as error:
        check_world(trainer(devices, nodes))
    assert text in str(error.value)
    assert error.value.reported is ("RANK=1" in values), "one of them says it"


def test_without_a_trainer_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, f"{TORCHRUN} RANK=0 WORLD_SIZE=2 LOCAL_WORLD_SIZE=2")
    with pytest.raises(ConfigError, match="torchrun has started 2 processes, and no Trainer was given"):
        check_world(None)
