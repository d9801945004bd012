"""Several ranks on one machine, started as users start them: exact, agreeing, elastic, and leaving together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from lit_rl.state.plain import digest, first_difference
from tests.helpers.cli import (
    ROOT,
    Forked,
    checkpoints,
    children,
    environment,
    final_state,
    is_alive,
    lineage,
    lit_rl,
    metrics,
    run_directory,
    start,
    wait_for,
    write_config,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

TWO = ("--trainer.devices", 2, "--trainer.accelerator", "cpu")
BITS = ("--model.deterministic_reduction", "true")
MOMENTS: dict[str, Any] = {
    "env": {"id": "Pendulum-v1", "max_episode_steps": 40, "normalize": {"obs": True, "reward": True}},
    "model": {"init_args": {"learning_rate": "lin_0.001"}},
}
LEARNED = ("policy", "obs_moments", "reward_moments", "optimizer", "lr_schedule", "counters", "episodes", "curriculum")
LONG = {"total_timesteps": 30_000, "checkpoint": {"every_timesteps": 1024, "keep_last": 3}}


def learned(run: Path) -> dict[str, Any]:
    """What does not depend on how environments are dealt out."""
    state = final_state(run)
    return {name: state[name] for name in LEARNED}


def differs(a: Path, b: Path) -> str | None:
    return first_difference(learned(a), learned(b))


def close(a: Path, b: Path, tolerance: float) -> bool:
    ours, theirs = final_state(a)["policy"], final_state(b)["policy"]
    return all(abs(ours[name] - theirs[name]).max() <= tolerance for name in ours)


# -- exact, for one number of ranks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [False, True])
def test_two_ranks_resume_to_the_bit(tmp_path: Path, bits: bool) -> None:
    config = write_config(tmp_path, MOMENTS)
    done = lit_rl("verify", "--config", config, "--stops", 2, *TWO, *(BITS if bits else ()), cwd=tmp_path)
    assert "environments[rank 1]" in done.stdout
    assert done.stdout.splitlines()[-1] == "exact: every part of the state is equal to the bit"


def test_two_ranks_with_a_curriculum_and_evaluation_resume_to_the_bit(tmp_path: Path) -> None:
    words = ("--eval.every", 2048, "--eval.episodes", 4, "--iterations", 8, "--stops", 3)
    done = lit_rl("verify", "--config", ROOT / "tests/data/up_and_down.yaml", *words, *TWO, cwd=tmp_path)
    assert "evaluations.npz" in done.stdout
    assert done.stdout.splitlines()[-1] == "exact: every part of the state is equal to the bit"


# -- agreeing, for any ------------------------------------------------------------------------------------------------


def test_ranks_do_the_same_steps_of_the_optimizer_to_float_tolerance(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"model": {"init_args": {"n_epochs": 4}}})
    lit_rl("fit", "--config", config, "--name", "one", cwd=tmp_path)
    done = lit_rl("fit", "--config", config, "--name", "two", *TWO, cwd=tmp_path)
    assert done.stdout.count("finished:") == 1, "once, not once a rank"
    assert done.stdout.count("mode: fresh") == 1
    one, two = run_directory(tmp_path, "one"), run_directory(tmp_path, "two")
    assert final_state(one)["counters"] == final_state(two)["counters"]
    assert final_state(one)["episodes"] == final_state(two)["episodes"]
    assert len(metrics(one)) == len(metrics(two))
    assert (one / "monitor.csv").read_text().count("\n") == (two / "monitor.csv").read_text().count("\n")
    assert len(list(two.glob("events.out.tfevents.*"))) == 1
    assert close(one, two, 1e-5)
    assert not close(one, two, 0.0), "the reduction is in another order"


@pytest.mark.parametrize("devices", [4])
def test_any_number_of_ranks_gives_the_same_bits_on_demand(tmp_path: Path, devices: int) -> None:
    config = write_config(tmp_path, MOMENTS)
    lit_rl("fit", "--config", config, "--name", "one", *BITS, cwd=tmp_path)
    lit_rl("fit", "--config", config, "--name", "many", *TWO[:1], devices, *TWO[2:], *BITS, cwd=tmp_path)
    assert differs(run_directory(tmp_path, "one"), run_directory(tmp_path, "many")) is None


@pytest.mark.parametrize("before", [1, 2])
def test_another_number_of_ranks_goes_on(tmp_path: Path, before: int) -> None:
    """Also with a curriculum; no episode is counted twice."""
    config = ROOT / "tests/data/up_and_down.yaml"
    words = ("--config", config, *BITS, "--trainer.accelerator", "cpu", "--total_timesteps", 16_384)
    first, second = ("--trainer.devices", before), ("--trainer.devices", 3 - before)
    lit_rl("fit", *words, "--name", "straight", cwd=tmp_path)
    lit_rl("fit", *words, "--name", "run", *first, "--pause_at", 6_000, cwd=tmp_path, expect=75)
    done = lit_rl("fit", *words, "--name", "run", *second, "--mode", "resume", cwd=tmp_path)
    assert f"ranks before: {before}; environments are dealt out anew" in done.stdout
    straight, run = run_directory(tmp_path, "straight"), run_directory(tmp_path, "run")
    assert differs(straight, run) is None
    assert (straight / "monitor.csv").read_text().count("\n") == (run / "monitor.csv").read_text().count("\n")
    assert len(final_state(run)["curriculum"]["history"]) > 0


# -- leaving together -------------------------------------------------------------------------------------------------


def begin(cwd: Path, *words: Any) -> tuple[Forked, int]:
    """Two ranks in training, and the process of rank 1."""
    config = write_config(cwd, LONG)
    process = start("fit", "--config", config, *TWO, *words, cwd=cwd)
    newest = checkpoints(run_directory(cwd))[-1:]
    wait_for(lambda: [c.path for c in checkpoints(run_directory(cwd))[-1:]] != [c.path for c in newest])
    other = next(pid for pid in children(process.pid) if b"LOCAL_RANK=1" in Path(f"/proc/{pid}/environ").read_bytes())
    return process, other


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ranks that nothing stopped."""
    cwd = tmp_path_factory.mktemp("straight")
    lit_rl("fit", "--config", write_config(cwd, LONG), *TWO, cwd=cwd)
    return run_directory(cwd)


def assert_it_goes_on(cwd: Path, straight: Path) -> None:
    lit_rl("fit", "--config", write_config(cwd, LONG), *TWO, "--mode", "resume", cwd=cwd)
    ours, theirs = final_state(run_directory(cwd)), final_state(straight)
    assert first_difference(ours, theirs) is None
    assert metrics(run_directory(cwd)) == metrics(straight)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"])
def test_a_signal_to_one_rank_stops_all(tmp_path: Path, straight: Path, name: str, rank: int) -> None:
    process, other = begin(tmp_path)
    os.kill(other if rank else process.pid, getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert out.count(f"stopped by {name}") == 1
    wait_for(lambda: not is_alive(other), 10)
    run = run_directory(tmp_path)
    newest = checkpoints(run)[-1].manifest
    assert (newest.world_size, newest.timesteps) == (2, lineage(run)["segments"][-1]["to_timesteps"])
    if name == "SIGTERM":
        assert_it_goes_on(tmp_path, straight)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_that_is_gone_or_stands_still_makes_the_other_leave(
    tmp_path: Path, straight: Path, number: signal.Signals, rank: int
) -> None:
    process, other = begin(tmp_path, "--env.backend", "async", "--env.n_workers", 1)
    workers = children(process.pid) + children(other)
    lost, left = (other, process.pid) if rank else (process.pid, other)
    sent = time.monotonic()
    os.kill(lost, number)
    try:
        wait_for(lambda: not is_alive(left), 30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(lost, signal.SIGKILL)
    assert time.monotonic() - sent < 30
    _, err = process.communicate(timeout=10)
    assert f"rank {rank} (process {lost} on " in err
    assert "Traceback" not in err
    assert "can be resumed from its last checkpoint" in err
    if rank:
        assert process.returncode == 1
    wait_for(lambda: not any(map(is_alive, workers)), 10)
    assert_it_goes_on(tmp_path, straight)


def test_a_rank_that_cannot_write_fails_the_save_on_all(tmp_path: Path) -> None:
    """The second rank alone may not write large files: the save is refused once, in one line, with 74."""
    config = write_config(tmp_path, LONG)
    (tmp_path / "sitecustomize.py").write_text(
        "import os, resource, signal\n"
        "if os.environ.get('LOCAL_RANK') == '1':\n"
        "    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))\n"
    )
    env = {**environment(), "PYTHONPATH": f"{tmp_path}{os.pathsep}{environment()['PYTHONPATH']}"}
    command = ["python", "-m", "lit_rl", "fit", "--config", str(config), *map(str, TWO)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env, timeout=100, check=False)
    assert done.returncode == 74, done.stderr
    assert done.stderr.count("error: ") == 1, done.stderr
    assert "cannot write" in done.stderr
    assert not checkpoints(run_directory(tmp_path))


TWO_RUNS = """
from lightning.pytorch import Trainer
from lit_rl import PPO, EnvConfig, begin

def train(name):
    module = PPO(env=EnvConfig(id="CartPole-v1", n_envs=2), n_steps=64, total_timesteps=512, seed=1)
    trainer = Trainer(max_epochs=-1, devices=2, accelerator="cpu", strategy="ddp", logger=False,
                      enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    run = begin(module, mode="fresh", name=name, trainer=trainer)
    trainer.callbacks += run.callbacks
    with run:
        trainer.fit(module, ckpt_path=run.ckpt_path, weights_only=True)

if __name__ == "__main__":
    train("one")
    train("other")
"""


@pytest.mark.parametrize("launcher", [["python"], ["torchrun", "--nproc-per-node", "2"]])
def test_a_script_trains_one_run_after_another(tmp_path: Path, launcher: list[str]) -> None:
    """The processes of the first are those of the second, which meet again where they have met."""
    (tmp_path / "script.py").write_text(TWO_RUNS)
    command = [*launcher, "script.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=environment(), timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    one, other = (tmp_path / "lightning_logs" / name / "version_0" for name in ("one", "other"))
    assert checkpoints(one)[-1].name == checkpoints(other)[-1].name
    first, second = final_state(one), final_state(other)
    for name in first:
        assert first_difference(first[name], second[name], name) is None


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--env.n_envs", 5), "env.n_envs is 5, which 2 ranks (trainer.devices times trainer.num_nodes) cannot share "
         "evenly; the nearest good numbers are 4 and 6."),
        ((*BITS, "--model.reduction_pieces", 1), "model.reduction_pieces is 1, and 2 ranks cannot share that evenly"),
        (("--mode", "resume"), "resume.checkpoint: 'last' of the run 'run' is not there"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_once_and_nothing_is_written(tmp_path: Path, words: tuple[Any, ...], text: str) -> None:
    config = write_config(tmp_path)
    done = lit_rl("fit", "--config", config, *TWO, *words, cwd=tmp_path, expect=2)
    assert done.stderr.count("error: ") == 1, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "lightning_logs").exists()


# -- other launchers --------------------------------------------------------------------------------------------------


def test_torchrun_on_two_nodes(tmp_path: Path) -> None:
    """Two agents on this machine stand for two nodes."""
    config = write_config(tmp_path)
    lit_rl("fit", "--config", config, "--name", "one", *BITS, cwd=tmp_path)
    port = 20_000 + os.getpid() % 20_000
    env = {**environment(), "NODES": "2", "PROCESSES": "1", "ENDPOINT": f"127.0.0.1:{port}"}
    command = ["bash", str(ROOT / "docs/clusters/torchrun.sh"), str(config), "--trainer.accelerator", "cpu", *BITS]
    nodes = [
        subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [node.communicate(timeout=120) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert "".join(out for out, _ in said).count("finished:") == 1
    assert differs(run_directory(tmp_path, "one"), run_directory(tmp_path)) is None


def test_slurm_with_requeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch script as it stands, with an `srun` that starts two tasks here and a `scontrol` that takes notes."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "srun").write_text(
        "#!/bin/sh\n"
        'for i in 0 1; do SLURM_PROCID=$i SLURM_LOCALID=$i SLURM_NODEID=0 "$@" & pids="$pids $!"; done\n'
        'trap "kill -USR1 $pids" USR1\n'
        "code=0; for pid in $pids; do wait $pid; wait $pid; code=$?; done; exit $code\n"
    )
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    port = 20_000 + (os.getpid() * 7) % 20_000
    env = {
        **environment(), "PATH": f"{tools}{os.pathsep}{environment()['PATH']}", "SLURM_JOB_ID": "4711",
        "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODELIST": "localhost",
        "SLURM_CPUS_PER_TASK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "SLURM_JOB_NAME": "test",
    }  # fmt: skip
    config = write_config(tmp_path, LONG)
    command = ["bash", str(ROOT / "docs/clusters/slurm.sbatch"), str(config), "--trainer.accelerator", "cpu"]
    job = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: checkpoints(run_directory(tmp_path)))
    job.send_signal(signal.SIGUSR1)
    out, err = job.communicate(timeout=60)
    assert "stopped by SIGUSR1" in out, err
    assert (tmp_path / "asked").read_text() == "requeue 4711\n"
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "mode: resume" in done.stdout
    assert digest(final_state(run_directory(tmp_path))["counters"])


def test_the_kubernetes_job_runs_its_command() -> None:
    import yaml

    job = yaml.safe_load((ROOT / "docs/clusters/kubernetes.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    command = [word for word in container["command"] if not word.startswith("--config")]
    done = lit_rl(*command[3:], "--config", ROOT / "configs/cartpole_ppo.yaml", "--print_config", cwd=ROOT)
    assert yaml.safe_load(done.stdout)["requeue"] is True
