"""Environments that are lost in a run: it stops as between iterations and goes on from there, or it goes on at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lit_rl.algorithms.ppo import PPO
from lit_rl.callbacks.checkpointing import Checkpointer
from lit_rl.envs.failures import EnvironmentLost
from lit_rl.errors import StorageError
from lit_rl.state.plain import first_difference
from lit_rl.state.records import Counters
from lit_rl.training.play import Play
from tests.helpers import envs
from tests.helpers.cli import (
    checkpoints,
    final_state,
    lineage,
    lit_rl,
    merged,
    metrics,
    run_directory,
    start,
    wait_for,
    write_config,
)
from tests.runs.conftest import Cli

IN_WORKERS = {"env": {"backend": "async", "n_workers": 2}}
FAILS: dict[str, Any] = {
    "env": {"id": None, "class_path": envs.PATH + "NoisyFails", "max_episode_steps": 30, "on_env_crash": "restart"},
    "total_timesteps": 1024,
}


def kill_worker(play: Play, number: int = 1) -> None:
    process = play.envs._workers[number].process  # type: ignore[union-attr]
    process.kill()
    process.join()


def once_in(monkeypatch: pytest.MonkeyPatch, method: str, when: Callable[..., bool], act: Callable[..., None]) -> None:
    """Do something once: at the beginning of a step of the environments, or of an update.

    Args:
        monkeypatch: puts it back.
        method: `step` of `Play`, or `update` of `PPO`.
        when: asked with the run's counters, and in a step with the number of the step in its rollout.
        act: given the run's `Play`.
    """
    owner: Any = Play if method == "step" else PPO
    unchanged, done = getattr(owner, method), []

    def disturbed(self: Any, *args: Any) -> Any:
        play = self if method == "step" else self.play
        if not done and when(play._counters, play._steps):
            done.append(True)
            act(play)
        return unchanged(self, *args)

    monkeypatch.setattr(owner, method, disturbed)


def assert_same(a: Path, b: Path, but: tuple[str, ...] = ()) -> None:
    ours, theirs = final_state(a), final_state(b)
    for name in ours.keys() - set(but):
        assert first_difference(ours[name], theirs[name], name) is None
    assert metrics(a) == metrics(b)
    assert _episodes(a) == _episodes(b)


def _episodes(run: Path) -> list[str]:
    return [",".join(line.split(",")[:2]) for line in (run / "monitor.csv").read_text().splitlines()[1:]]


@pytest.mark.workers
@pytest.mark.parametrize(
    ("method", "when", "saved"),
    [
        ("step", lambda counters, t: counters.iterations == 2 and t == 7, 256),
        ("update", lambda counters, t: counters.iterations == 2, 256),
        ("step", lambda counters, t: counters.iterations == 0, 0),
    ],
    ids=["in a rollout", "in an update", "in the first rollout"],
)
def test_a_killed_worker_stops_the_run_and_the_resumed_one_is_as_if_nothing_had_been(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, method: str, when: Any, saved: int
) -> None:
    config = cli.config(merged(IN_WORKERS, {"checkpoint": {"every_timesteps": None}}))
    cli("fit", "--config", config, "--name", "straight")
    with monkeypatch.context() as patch:
        once_in(patch, method, when, kill_worker)
        done = cli("fit", "--config", config, expect=75)
    lines = done.err.strip().splitlines()
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert "environments 2 to 3 (CartPole-v1): the worker process was killed by SIGKILL between two steps" in done.err
    assert "is saved: mode: resume" in done.err
    assert "Traceback" not in done.err
    assert not multiprocessing.active_children()
    assert [checkpoint.manifest.timesteps for checkpoint in checkpoints(cli.run())] == [saved]
    assert lineage(cli.run())["segments"][0]["cause"].startswith("error: EnvironmentLost: environments 2 to 3")
    cli("fit", "--config", config, "--mode", "resume")
    assert_same(cli.run(), cli.run("straight"))


def test_what_cannot_be_saved_is_code_1(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(play: Play) -> None:
        raise EnvironmentLost("environment 0 is gone.")

    def full(self: Checkpointer, *args: Any) -> None:
        raise StorageError("cannot write: the disk is full.")

    config = cli.config({"checkpoint": {"every_timesteps": None}})
    once_in(monkeypatch, "step", lambda counters, t: counters.iterations == 2, lose)
    monkeypatch.setattr(Checkpointer, "save", full)
    done = cli("fit", "--config", config, expect=1)
    assert "error: environment 0 is gone.\nThe state before this iteration could not be saved: cannot write" in done.err
    assert "Traceback" not in done.err


def test_an_exception_in_this_process_stops_in_the_same_way(cli: Cli) -> None:
    once = cli.cwd / "once"
    once.touch()
    config = cli.config(merged(FAILS, {"env": {"on_env_crash": "stop", "kwargs": {"at": 3, "once": str(once)}}}))
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--pause_at", 512, expect=75)

    def forget(play: Play) -> None:
        once.unlink()

    with pytest.MonkeyPatch.context() as patch:
        once_in(patch, "step", lambda counters, t: counters.timesteps == 640, forget)
        done = cli("fit", "--config", config, "--mode", "resume", expect=75)
    assert done.err.startswith("error: environment ")
    assert "raised RuntimeError: the walls fell down in episode" in done.err
    assert "(timestep " in done.err.splitlines()[0]
    assert "tests/helpers/envs.py" in done.err, "the environment's own traceback is shown"
    cli("fit", "--config", config, "--mode", "resume")
    assert_same(cli.run(), cli.run("straight"))


@pytest.mark.workers
@pytest.mark.parametrize("method", ["step", "update"])
def test_with_restart_the_run_goes_on_and_is_resumed_exactly(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The killed worker's run has no twin, so its own later part is played twice: in one go, and over a stop."""
    config = cli.config(merged(IN_WORKERS, {"env": {"on_env_crash": "restart"}}))
    with monkeypatch.context() as patch:
        once_in(patch, method, lambda counters, t: counters.iterations == 1, kill_worker)
        done = cli("fit", "--config", config, "--pause_at", 256, expect=75)
    assert "stopped by pause_at" in done.out
    assert done.err.count("WARNING: ") == 1
    assert "environments 2 to 3 (CartPole-v1): the worker process was killed by SIGKILL" in done.err
    assert [row["env/restarts"] for row in metrics(cli.run())] == ["", "1"]
    assert final_state(cli.run())["counters"]["env_restarts"] == 1
    newest = checkpoints(cli.run())[-1].path
    told = json.loads(cli("show", "--json", newest).out)
    assert told["counters"]["env_restarts"] == 1
    assert "restarts of environments: 1" in cli("show", newest).out
    shutil.copytree(cli.run(), cli.run("copy"), symlinks=True)
    cli("fit", "--config", config, "--mode", "resume", "--pause_at", 384, expect=75)
    cli("fit", "--config", config, "--mode", "resume")
    free = ("--env.on_env_crash", "stop", "--env.max_restarts", 3)  # may change: nothing crashes any more
    cli("fit", "--config", config, "--name", "copy", "--mode", "resume", *free)
    assert_same(cli.run(), cli.run("copy"))
    assert not multiprocessing.active_children()
    assert metrics(cli.run())[-1]["env/restarts"] == "1"


def test_a_run_of_restarts_is_the_same_over_a_stop(cli: Cli) -> None:
    """Exceptions come again at the same steps: the whole run can be compared with a stopped one."""
    config = cli.config(merged(FAILS, {"env": {"kwargs": {"at": 5, "only": 2}, "max_restarts": 10_000}}))
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--pause_at", 256, expect=75)
    cli("fit", "--config", config, "--mode", "resume", "--pause_at", 640, expect=75)
    cli("fit", "--config", config, "--mode", "resume")
    assert final_state(cli.run())["counters"]["env_restarts"] > 10
    assert_same(cli.run(), cli.run("straight"))
    cli("fit", "--config", config, "--name", "limited", "--env.max_restarts", 3, expect=75)


def test_a_checkpoint_from_before_restarts_were_counted_is_read(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    config = cli.config({"checkpoint": {"every_timesteps": None}})
    with monkeypatch.context() as patch:
        whole = Counters.state_dict
        patch.setattr(
            Counters, "state_dict", lambda self: {k: v for k, v in whole(self).items() if k != "env_restarts"}
        )
        cli("fit", "--config", config, "--pause_at", 256, expect=75)
    assert "env_restarts" not in final_state(cli.run())["counters"]
    cli("show", checkpoints(cli.run())[-1].path)
    cli("fit", "--config", config, "--mode", "resume")
    assert final_state(cli.run())["counters"]["env_restarts"] == 0


@pytest.mark.workers
def test_a_run_with_invalid_output_ends_with_one_line_and_code_1(cli: Cli) -> None:
    config = cli.config(
        {
            "env": {
                "id": None,
                "class_path": envs.PATH + "SendsBad",
                "kwargs": {"what": "obs", "at": 4},
                "backend": "async",
                "normalize": {"obs": True},
            }
        }
    )
    done = cli("fit", "--config", config, expect=1)
    assert done.err.startswith("error: environment 0 sent an observation that is not finite at timestep 12: ")
    assert "Traceback" not in done.err


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.03, 0.3])
def test_a_worker_killed_from_outside_at_any_moment(tmp_path: Path, seconds: float) -> None:
    over = merged(IN_WORKERS, {"total_timesteps": 20_000, "checkpoint": {"every_timesteps": 1024}})
    config = write_config(tmp_path, over)
    process = start("fit", "--config", config, cwd=tmp_path)
    wait_for(lambda: len(checkpoints(run_directory(tmp_path))) >= 1)
    time.sleep(seconds)
    begin = time.monotonic()
    os.kill(workers_of(process.pid)[-1], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < 10
    assert process.returncode == 75, err
    assert "killed by SIGKILL" in err
    assert "Traceback" not in err
    lit_rl("fit", "--config", config, "--mode", "resume", cwd=tmp_path)
    lit_rl("fit", "--config", config, "--name", "straight", cwd=tmp_path)
    assert_same(run_directory(tmp_path), run_directory(tmp_path, "straight"))


def workers_of(pid: int) -> list[int]:
    """Worker processes of a trainer, in the order in which they were started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if f"PPid:\t{pid}\n" in status.read_text() and b"spawn_main" in (status.parent / "cmdline").read_bytes():
                found.append(int(status.parent.name))
        except OSError:
            continue
    return sorted(found)


def test_options_are_checked_together_with_their_backend(cli: Cli) -> None:
    base = ("fit", "--config", cli.config())
    assert "env.step_timeout: backend: sync" in cli.error(*base, "--env.step_timeout", 3)
    assert "env.step_timeout is 0" in cli.error(*base, "--env.step_timeout", 0)
    assert "env.on_env_crash" in cli.error(*base, "--env.on_env_crash", "ignore")
    assert "env.max_restarts is 0" in cli.error(*base, "--env.max_restarts", 0)
    native = ("--env.backend", "native", "--env.on_env_crash", "restart")
    assert "backend: native has none" in cli.error(*base, *native)
