"""Whole runs on a GPU, each in processes of its own; skipped where torch finds none.

python -m pytest tests/runs/test_cuda.py -m slow -n 8
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lit_rl.algorithms import needed
from lit_rl.state.plain import first_difference
from tests.helpers import envs
from tests.helpers.cli import ROOT, checkpoints, environment, final_state, metrics, run_directory, write_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(280),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

GPU = ("--trainer.accelerator", "gpu", "--trainer.devices", "1")
CPU = ("--trainer.accelerator", "cpu", "--trainer.devices", "1")
EXACT = (*GPU, "--trainer.deterministic", "true")
IMAGE = {"class_path": envs.PATH + "Image", "max_episode_steps": 20}
CONFIGS: dict[str, tuple[str, ...]] = {
    "cartpole_ppo": (),
    "cartpole_a2c": (),
    "pendulum_a2c": (),
    "cartpole_dqn": (),
    "pendulum_sac": (),
    "pendulum_td3": ("--model.learning_starts", "200"),
    "pendulum_ddpg": ("--model.learning_starts", "200"),
    "cartpole_qrdqn": (),
    "pendulum_tqc": ("--model.learning_starts", "100"),
    "pendulum_crossq": ("--model.learning_starts", "100"),
    "cartpole_trpo": (),
    "cartpole_ars": (),
    "cartpole_recurrentppo": (),
    "tour_maskableppo": (),
}
"""Ours with the networks of the RL Zoo, and what makes them learn early."""
MIXED = ("cartpole_ppo", "cartpole_dqn", "pendulum_sac", "pendulum_td3")


def apart(*words: Any, cwd: Path, expect: int = 0, first: str = "pass") -> subprocess.CompletedProcess[str]:
    """``python -m lit_rl WORD...`` in a process that shares nothing with this one; `first` runs before."""
    program = f"import sys; {first}; from lit_rl.__main__ import main; main()"
    command = [sys.executable, "-c", program, *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=270)
    assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


def verify(cwd: Path, config: Path, *words: str) -> None:
    done = apart("verify", "--config", config, "--stops", 2, "--iterations", 5, *words, cwd=cwd)
    assert done.stdout.splitlines()[-1] == "exact: every part of the state is equal to the bit", done.stdout


@pytest.mark.parametrize("name", CONFIGS)
def test_two_stops_change_nothing(tmp_path: Path, name: str) -> None:
    missing = needed(name.partition("_")[2])
    if missing:
        pytest.skip(f"needs {missing}")
    verify(tmp_path, ROOT / "configs" / f"{name}.yaml", *EXACT, *CONFIGS[name])


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("name", MIXED)
def test_two_stops_change_nothing_in_mixed_precision(tmp_path: Path, name: str, precision: str) -> None:
    words = ("--trainer.precision", precision, *CONFIGS[name])
    verify(tmp_path, ROOT / "configs" / f"{name}.yaml", *EXACT, *words)


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        ("PPO", {"n_steps": 64, "batch_size": 64, "n_epochs": 2}),
        ("A2C", {"cycles_per_iteration": 8}),
        ("DQN", {"buffer_size": 300, "learning_starts": 50, "train_freq": 8, "cycles_per_iteration": 4}),
    ],
)
def test_two_stops_change_nothing_of_what_sees_images(tmp_path: Path, algorithm: str, settings: dict[str, Any]) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump({
        "seed_everything": 1, "total_timesteps": 20_000, "env": {**IMAGE, "n_envs": 4, "backend": "sync"},
        "model": {"class_path": algorithm, "init_args": {"policy": "CnnPolicy", **settings}},
    }))  # fmt: skip
    verify(tmp_path, config, *EXACT)


def test_workers_and_an_evaluation_beside(tmp_path: Path) -> None:
    workers = ("--env.backend", "async", "--env.n_workers", "2", "--eval.every", "512", "--eval.episodes", "2")
    verify(tmp_path, ROOT / "configs" / "cartpole_ppo.yaml", *EXACT, *workers)


def test_a_kill_changes_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"total_timesteps": 4096, "model": {"init_args": {"learning_rate": "lin_0.001"}}})
    apart("fit", "--config", config, "--name", "straight", *EXACT, cwd=tmp_path)
    command = [sys.executable, "-m", "lit_rl", "fit", "--config", str(config), *EXACT]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL)
    saved, end = run_directory(tmp_path) / "checkpoints", time.monotonic() + 120
    while not list(saved.glob("t0*")) and process.poll() is None:
        assert time.monotonic() < end, "no checkpoint"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoints(run_directory(tmp_path))[-1].manifest.timesteps < 4096
    apart("fit", "--config", config, "--mode", "resume", *EXACT, cwd=tmp_path)
    same(run_directory(tmp_path, "straight"), run_directory(tmp_path))


def same(one: Path, other: Path) -> None:
    assert first_difference(final_state(one), final_state(other)) is None
    assert metrics(one) == metrics(other)


@pytest.mark.parametrize("name", ["cartpole_ppo", "pendulum_sac"])
@pytest.mark.parametrize(("before", "after"), [(GPU, CPU), (CPU, GPU)], ids=["to the CPU", "to the GPU"])
def test_a_run_goes_on_on_the_other_device(
    tmp_path: Path, name: str, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    words = ("fit", "--config", ROOT / "configs" / f"{name}.yaml", "--name", "run")
    apart(*words, *before, "--pause_at", 1024, cwd=tmp_path, expect=75)
    done = apart(*words, *after, "--pause_at", 2048, "--mode", "resume", cwd=tmp_path, expect=75)
    card = torch.cuda.get_device_name()
    old, new = (card, "cpu") if before is GPU else ("cpu", card)
    assert f"computed with: {old}, 32-true, by hand -> {new}, 32-true, by hand; equal to the bit" in done.stdout
    assert "could not be brought back" not in done.stdout
    assert [each.manifest.timesteps for each in checkpoints(run_directory(tmp_path))][-1] >= 2048
    done = apart("test", *words[1:], *after, "--episodes", 2, cwd=tmp_path)
    assert "return: mean" in done.stdout


def test_a_run_on_the_cpu_allocates_nothing_on_a_gpu(tmp_path: Path) -> None:
    first = "import atexit, torch; atexit.register(lambda: print('reserved:', torch.cuda.memory_reserved()))"
    done = apart("fit", "--config", write_config(tmp_path), *CPU, cwd=tmp_path, first=first)
    assert "reserved: 0" in done.stdout
    assert "cuda" in final_state_of_gpu(tmp_path)["streams"]


def final_state_of_gpu(cwd: Path) -> dict[str, Any]:
    done = apart("fit", "--config", cwd / "run.yaml", "--name", "gpu", *GPU, cwd=cwd)
    assert "equal to the bit needs trainer.deterministic: true" in done.stdout
    return final_state(run_directory(cwd, "gpu"))


def test_too_little_memory_is_one_line(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"model": {"init_args": {"policy_kwargs": {"net_arch": [2048, 2048]}}}})
    first = "import torch; torch.cuda.set_per_process_memory_fraction(0.0005)"
    done = apart("fit", "--config", config, *GPU, cwd=tmp_path, expect=2, first=first)
    assert "error: the device has too little memory: CUDA out of memory. Tried to allocate" in done.stderr


def test_devices_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    config, count = write_config(tmp_path), torch.cuda.device_count()
    more = ("--trainer.accelerator", "gpu", "--trainer.devices", count + 1, "--trainer.strategy", "ddp")
    done = apart("fit", "--config", config, *more, cwd=tmp_path, expect=2)
    assert done.stderr.startswith("error: trainer.devices: ")
    hidden = "import os; os.environ['CUDA_VISIBLE_DEVICES'] = ''"
    done = apart("fit", "--config", config, *GPU, cwd=tmp_path, expect=2, first=hidden)
    assert "error: trainer.accelerator: torch finds no GPU here" in done.stderr
    assert not os.path.exists(tmp_path / "lightning_logs")
