"""Several ranks begin together, wait where it can be seen, and end together: two nodes by hand, callbacks, losses."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lit_rl.checkpoint.reader import load_lightning, load_rank
from lit_rl.state.plain import first_difference
from tests.helpers import envs
from tests.helpers.cli import (
    Forked,
    checkpoints,
    children,
    environment,
    final_state,
    is_alive,
    lineage,
    lit_rl,
    run_directory,
    start,
    wait_for,
    write_config,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

TWO = ("--trainer.devices", 2, "--trainer.accelerator", "cpu")
CALLBACKS = "tests.helpers.rank_callbacks."


class Nodes:
    """Two nodes of one process each, started by hand on this machine."""

    def __init__(self, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._cwd, self._monkeypatch = cwd, monkeypatch
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(self.port))

    def start(self, rank: int, *words: Any, cwd: Path | None = None) -> Forked:
        self._monkeypatch.setenv("NODE_RANK", str(rank))
        nodes = ("--trainer.num_nodes", 2, "--trainer.devices", 1, "--trainer.accelerator", "cpu")
        return start("fit", "--config", write_config(cwd or self._cwd), *nodes, *words, cwd=cwd or self._cwd)


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    return Nodes(tmp_path, monkeypatch)


def ended(*processes: Forked) -> tuple[list[int | None], str]:
    """Exit codes, and what all have said on standard error."""
    said = "".join(process.communicate(timeout=100)[1] for process in processes)
    assert "Traceback" not in said, said
    return [process.returncode for process in processes], said


# -- who is who -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SLURM_PROCID", "RANK", "LOCAL_RANK"])
def test_one_process_writes_its_logs_whatever_the_environment_says(tmp_path: Path, name: str) -> None:
    """In a process of its own: Lightning reads the variable when it is imported."""
    command = [sys.executable, "-m", "lit_rl", "fit", "--config", str(write_config(tmp_path))]
    env = {**environment(), name: "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished:") == 1
    run = run_directory(tmp_path)
    assert (run / "metrics.csv").read_text().count("\n") == 5
    assert (run / "monitor.csv").exists()
    assert len(list(run.glob("events.out.tfevents.*"))) == 1


# -- agreeing before anything is written ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--model.learning_rate", 0.01), "model.learning_rate is 0.0003 on rank 0 and 0.01 on rank 1 (process "),
        (("--model.n_steps", 64, "--checkpoint.keep_last", 2), "model.n_steps is 32 on rank 0 and 64 on rank 1"),
        (("--total_timesteps", 1024), "total_timesteps is 512 on rank 0 and 1024 on rank 1"),
    ],
)
def test_ranks_that_were_started_with_other_settings_refuse(
    tmp_path: Path, nodes: Nodes, words: tuple[Any, ...], text: str
) -> None:
    codes, said = ended(nodes.start(0), nodes.start(1, *words))
    assert codes == [2, 2], said
    assert text in said
    assert said.count("error: ") == 1
    assert not (tmp_path / "lightning_logs").exists()


def test_ranks_that_see_other_directories_refuse(tmp_path: Path, nodes: Nodes) -> None:
    other = tmp_path / "other"
    other.mkdir()
    codes, said = ended(nodes.start(0), nodes.start(1, cwd=other))
    assert codes == [2, 2], said
    assert "rank 1 (process " in said
    assert "does not see the run directory" in said
    assert not (tmp_path / "lightning_logs").exists()
    assert not (other / "lightning_logs").exists()
    root = ("--trainer.default_root_dir", tmp_path / "common")
    codes, said = ended(nodes.start(0, *root), nodes.start(1, *root, cwd=other))
    assert codes == [0, 0], said
    assert not list((tmp_path / "common").rglob(".seen-by-all*"))


# -- waiting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 1])
def test_a_node_alone_says_who_it_waits_for_and_hears_signals(tmp_path: Path, nodes: Nodes, rank: int) -> None:
    process = nodes.start(rank)
    time.sleep(9.0)
    begin = time.monotonic()
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
    codes, said = ended(process)
    assert time.monotonic() - begin < 5
    assert codes == [75], said
    who = f"rank 0 at 127.0.0.1:{nodes.port}" if rank else "rank 1 of 2 ranks"
    assert f"waiting for {who}" in said
    assert not (tmp_path / "lightning_logs").exists()


def test_waiting_has_a_limit(nodes: Nodes) -> None:
    codes, said = ended(nodes.start(0, "--ranks.start_timeout_s", 2))
    assert codes == [1], said
    assert "rank 1 of 2 ranks did not come within 2 s (ranks.start_timeout_s)" in said


def test_a_rank_that_is_stopped_while_it_starts_is_named_and_waiting_can_be_ended(tmp_path: Path) -> None:
    process = start("fit", "--config", write_config(tmp_path), *TWO, cwd=tmp_path)
    wait_for(lambda: children(process.pid))
    (other,) = children(process.pid)
    os.kill(other, signal.SIGSTOP)
    time.sleep(7.0)
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    codes, said = ended(process)
    assert codes == [75], said
    assert time.monotonic() - begin < 5
    assert f"waiting for rank 1 (process {other}, which is stopped) of 2 ranks" in said
    wait_for(lambda: not is_alive(other), 5)


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        monkeypatch.setenv("MASTER_PORT", str(taken.getsockname()[1]))
        done = lit_rl("fit", "--config", write_config(tmp_path), *TWO, cwd=tmp_path, expect=2)
    assert "is taken on this machine by another program" in done.stderr
    assert "Traceback" not in done.stderr


# -- deciding together ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("hook", ["on_train_start", "on_train_epoch_start", "on_train_batch_end"])
def test_a_callback_on_one_rank_stops_all(tmp_path: Path, hook: str, rank: int) -> None:
    words = ("--trainer.callbacks", CALLBACKS + "StopOn", "--trainer.callbacks.rank", rank)
    config = write_config(tmp_path)
    done = lit_rl("fit", "--config", config, *TWO, *words, "--trainer.callbacks.hook", hook, cwd=tmp_path, expect=75)
    assert "stopped by a callback (should_stop)" in done.stdout
    assert checkpoints(run_directory(tmp_path))[-1].manifest.timesteps == (128 if hook.endswith("end") else 0)


def test_every_rank_keeps_its_own_callbacks_states(tmp_path: Path) -> None:
    words = ("fit", "--config", write_config(tmp_path), "--trainer.callbacks", CALLBACKS + "Counts")
    lit_rl(*words, *TWO, "--pause_at", 256, cwd=tmp_path, expect=75)
    lit_rl(*words, *TWO, "--mode", "resume", cwd=tmp_path)

    def counts() -> list[int]:
        last = checkpoints(run_directory(tmp_path))[-1]
        ranks = [load_rank(last, rank) for rank in range(1, last.manifest.world_size)]
        return [each["callbacks"]["Counts"]["count"] for each in (load_lightning(last), *ranks)]

    assert counts() == [4, 404]
    more = ("--mode", "resume", "--resume.additional_timesteps", 128)
    done = lit_rl(*words, "--trainer.devices", 4, *TWO[2:], *more, cwd=tmp_path)
    assert "callbacks: ranks 2 to 3 are new and take rank 0's state" in done.stdout
    assert counts() == [5, 505, 205, 305]


@pytest.mark.parametrize("rank", [0, 1])
def test_an_evaluation_is_given_up_by_all_and_the_state_before_is_saved(tmp_path: Path, rank: int) -> None:
    """The signal comes to one rank: the other waits in native code, or evaluates and cannot know."""
    endless = {"env": {"id": None, "class_path": envs.PATH + "Endless"}, "checkpoint": {"every_timesteps": None}}
    words = ("fit", "--config", write_config(tmp_path, endless), *TWO)
    process = start(*words, "--eval.every", 256, "--eval.max_episode_steps", 10**9, cwd=tmp_path)
    wait_for(lambda: (run_directory(tmp_path) / "lineage.json").exists())
    time.sleep(6.0)
    (other,) = children(process.pid)
    begin = time.monotonic()
    os.kill(other if rank else process.pid, signal.SIGTERM)
    codes, said = ended(process)
    assert codes == [75], said
    assert time.monotonic() - begin < 20
    assert lineage(run_directory(tmp_path))["segments"][0]["cause"] == "SIGTERM"
    assert checkpoints(run_directory(tmp_path))[-1].manifest.timesteps == 128
    lit_rl(*words, "--mode", "resume", cwd=tmp_path)
    lit_rl(*words, "--name", "straight", cwd=tmp_path)
    ours, theirs = final_state(run_directory(tmp_path)), final_state(run_directory(tmp_path, "straight"))
    for part in ("policy", "optimizer", "counters", "environments[rank 0]", "environments[rank 1]"):
        assert first_difference(ours[part], theirs[part]) is None, part


# -- dead or slow -----------------------------------------------------------------------------------------------------


def test_a_kill_inside_a_barrier_of_lightnings_is_one_line(tmp_path: Path) -> None:
    words = ("--trainer.callbacks", CALLBACKS + "DieInBarrier", "--env.backend", "async", "--env.n_workers", 1)
    process = start("fit", "--config", write_config(tmp_path), *TWO, *words, cwd=tmp_path)
    codes, said = ended(process)
    assert codes == [1]
    assert said.count("error: ") == 1, said
    assert "rank 1 (process " in said
    assert "is gone; all ranks leave. Nothing had been saved yet." in said
    wait_for(lambda: not children(process.pid), 5)


def test_native_code_that_holds_the_lock_is_no_loss(tmp_path: Path) -> None:
    words = ("--trainer.callbacks", CALLBACKS + "HoldTheLock", "--trainer.callbacks.seconds", 20)
    assert "finished:" in lit_rl("fit", "--config", write_config(tmp_path), *TWO, *words, cwd=tmp_path).stdout


def test_patience_is_a_setting(tmp_path: Path) -> None:
    words = ("--trainer.callbacks", CALLBACKS + "HoldTheLock", "--trainer.callbacks.seconds", 100)
    config = write_config(tmp_path)
    done = lit_rl("fit", "--config", config, *TWO, *words, "--ranks.patience_s", 4, cwd=tmp_path, expect=1)
    assert "(ranks.patience_s); all ranks leave" in done.stderr
