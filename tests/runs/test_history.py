"""Going on from an older checkpoint, forks, targets that hold, copies, and logs that somebody has damaged."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lit_rl.checkpoint.history import belonging
from lit_rl.checkpoint.manifest import Checkpoint, Manifest
from lit_rl.cli.dispatch import run_command
from lit_rl.run.aside import Aside, settle
from tests.helpers.cli import checkpoints, lineage, metrics, same_runs, start, wait_for
from tests.helpers.strace import needs_strace, traced
from tests.runs.conftest import Cli

EVAL = {"eval": {"every": 128, "episodes": 2}}
LOGS = ("metrics.csv", "monitor.csv", "evaluations.npz", "config.yaml")


def same(one: Path, other: Path) -> None:
    """The same end state, and the same rows in the logs."""
    same_runs(one, other)
    assert [line.split(",")[:2] for line in lines(one)] == [line.split(",")[:2] for line in lines(other)]


def lines(run: Path) -> list[str]:
    return (run / "monitor.csv").read_text().splitlines()[1:]


def logs(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir() if path.name in LOGS or "tfevents" in path.name}


def names(run: Path) -> list[str]:
    return [checkpoint.path.name for checkpoint in checkpoints(run)]


def at(run: Path, timesteps: int) -> Path:
    return next(path for path in (run / "checkpoints").glob(f"t{timesteps:010d}-*"))


@pytest.fixture
def finished(cli: Cli) -> Path:
    """A run at its target, 512, with a checkpoint every 128 timesteps."""
    cli("fit", "--config", cli.config(EVAL))
    cli("fit", "--config", cli.config(EVAL), "--name", "straight")
    return cli.run()


# -- an older checkpoint ----------------------------------------------------------------------------------------


def test_going_back_leaves_one_history_and_the_same_bits(cli: Cli, finished: Path) -> None:
    done = cli("fit", "--config", cli.config(EVAL), "--ckpt_path", at(finished, 256))
    assert (
        "goes back from timestep 512 (t0000000512-s001): what came after 256 is kept until the first save" in done.out
    )
    same(finished, cli.run("straight"))
    assert names(finished) == ["t0000000128-s001", "t0000000256-s001", "t0000000384-s002", "t0000000512-s002"]
    assert {path.name for path in (finished / "checkpoints").glob("t*")} == set(names(finished))
    assert not list(finished.glob(".aside*"))
    assert lineage(finished)["segments"][1]["checkpoint"] == "t0000000256-s001"


@pytest.mark.parametrize("words", [("--pause_at", 1), ("--resume.require", "exact", "--model.n_steps", 16)])
def test_nothing_is_cut_before_the_new_history_has_saved(cli: Cli, finished: Path, words: Any) -> None:
    """A stop at once, and a mistake, leave everything as it was."""
    before, there = logs(finished), names(finished)
    expect = 75 if "--pause_at" in words else 2
    cli("fit", "--config", cli.config(EVAL), "--ckpt_path", at(finished, 128), *words, expect=expect)
    after = logs(finished)
    assert {name: data for name, data in after.items() if name != "config.yaml"} == {
        name: data for name, data in before.items() if name != "config.yaml"
    }
    assert names(finished) == there
    assert "nothing to do" in cli("fit", "--config", cli.config(EVAL), "--mode", "resume").out


def killed_on_the_way_back(cli: Cli, finished: Path) -> None:
    """A resume from 128 that was killed before it had saved anything."""
    rows = len(metrics_of(finished))
    config = cli.config({**EVAL, "checkpoint": {"every_timesteps": None}}, "never.yaml")
    words = ("--ckpt_path", at(finished, 128), "--resume.total_timesteps", 10**8)
    process = start("fit", "--config", config, *words, cwd=cli.cwd)
    wait_for(lambda: len(metrics_of(finished)) != rows)
    process.kill()
    process.wait()
    assert list(finished.glob(".aside-s002.tar")), "what was cut lies aside"


def test_a_kill_before_the_first_save_gives_everything_back(cli: Cli, finished: Path) -> None:
    before, there = logs(finished), names(finished)
    killed_on_the_way_back(cli, finished)
    cli("fit", "--config", cli.config(EVAL), "--mode", "resume", "--resume.additional_timesteps", 128, "--pause_at", 1,
        expect=75)  # fmt: skip
    after = logs(finished)
    assert {n: after[n] for n in before if n != "config.yaml"} == {n: before[n] for n in before if n != "config.yaml"}
    assert names(finished) == there


def metrics_of(run: Path) -> list[str]:
    return (run / "metrics.csv").read_text().splitlines() if (run / "metrics.csv").exists() else []


def test_what_was_put_aside_is_dropped_once_the_history_has_saved(tmp_path: Path) -> None:
    """Also where the process was killed right after its save."""
    (tmp_path / "metrics.csv").write_text("old\n")
    for saved, content in ((False, "old\n"), (True, "new\n")):
        Aside(tmp_path, 2).put()
        (tmp_path / "metrics.csv").write_text("new\n")
        if saved:
            (tmp_path / "checkpoints" / "t0000000512-s002").mkdir(parents=True)
        settle(tmp_path)
        assert (tmp_path / "metrics.csv").read_text() == content
        assert not list(tmp_path.glob(".aside*"))


def test_best_and_fallbacks_are_of_the_history_that_goes_on(cli: Cli, finished: Path) -> None:
    config = cli.config({**EVAL, "checkpoint": {"every_timesteps": 64}}, "often.yaml")
    cli("fit", "--config", config, "--ckpt_path", at(finished, 256), "--pause_at", 384, expect=75)
    newest = at(finished, 384)
    assert newest.name == "t0000000384-s002"
    assert os.readlink(finished / "checkpoints" / "best") in names(finished)
    (newest / "lightning.ckpt").write_bytes(b"damaged")
    done = cli("fit", "--config", cli.config(EVAL), "--mode", "resume", "--pause_at", 1, expect=75)
    assert "WARNING: " in done.out
    assert "checkpoint: t0000000256-s001" in done.out


def checkpoint(timesteps: int, segment: int, parent: str | None = None) -> Checkpoint:
    manifest = Manifest(1, "run", segment, timesteps, 1, 1, None, "", {}, {}, parent=parent)
    return Checkpoint(Path(f"t{timesteps:010d}-s{segment:03d}"), manifest, "")


@pytest.mark.parametrize(
    ("there", "belong"),
    [
        ([(1, 1, None), (2, 1, None)], [(2, 1), (1, 1)]),
        ([(1, 1, None), (3, 1, None), (2, 2, "t0000000001-s001")], [(2, 2), (1, 1)]),
        ([(1, 1, None), (3, 1, None), (2, 2, None)], [(2, 2), (1, 1)]),
        ([(1, 1, None), (2, 2, "t0000000001-s001"), (3, 3, "t0000000001-s001")], [(3, 3), (1, 1)]),
        ([(1, 1, None), (2, 2, None), (3, 3, None)], [(3, 3), (2, 2), (1, 1)]),
        ([(1, 1, None), (9, 2, "t0000000001-s001"), (2, 3, "t0000000001-s001"), (4, 4, "t0000000002-s003")],
         [(4, 4), (2, 3), (1, 1)]),
    ],
)  # fmt: skip
def test_which_checkpoints_belong_together(there: Any, belong: Any) -> None:
    kept, left = belonging([checkpoint(*each) for each in there], [])
    assert [(c.manifest.timesteps, c.manifest.segment) for c in kept] == belong
    assert len(kept) + len(left) == len(there)


# -- forks ------------------------------------------------------------------------------------------------------


def test_a_fork_is_a_run_of_its_own_with_the_same_bits(cli: Cli, finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file() and not path.is_symlink()}
    fork = ("--ckpt_path", at(finished, 256), "--resume.fork", "true")
    done = cli("fit", "--config", cli.config(EVAL), *fork, "--pause_at", 384, expect=75)
    assert f"parent: {at(finished, 256)}" in done.out
    own = cli.run(version=1)
    cli("fit", "--config", cli.config(EVAL), "--mode", "resume")
    same(own, cli.run("straight"))
    assert {path: path.read_bytes() for path in before} == before, "the other run is as it was"
    ours, theirs = lineage(own), lineage(finished)
    assert ours["run_id"] != theirs["run_id"]
    assert (ours["mode"], ours["parents"][0]["run_id"]) == ("fork", theirs["run_id"])
    assert [segment["number"] for segment in ours["segments"]] == [2, 3]
    shutil.rmtree(finished)
    cli("fit", "--config", cli.config(EVAL), "--ckpt_path", at(own, 256))  # nothing of the other run is needed
    same(own, cli.run("straight"))


def test_a_fork_has_the_rows_of_its_checkpoint_though_they_lie_aside(cli: Cli, finished: Path) -> None:
    """The run that it comes from was cut further back by a resume that has saved nothing, and is left as it is."""
    killed_on_the_way_back(cli, finished)
    before = logs(finished)
    done = cli("fit", "--config", cli.config(EVAL), "--ckpt_path", at(finished, 384), "--resume.fork", "true")
    assert "WARNING" not in done.out
    same(finished.parent / "version_1", cli.run("straight"))
    assert logs(finished) == before
    assert list(finished.glob(".aside-s002.tar"))


def test_a_fork_killed_before_its_first_save_goes_on(cli: Cli, finished: Path) -> None:
    config = cli.config({**EVAL, "checkpoint": {"every_timesteps": None}}, "never.yaml")
    fork = ("--ckpt_path", at(finished, 256), "--resume.fork", "true", "--resume.total_timesteps", 10**8)
    process = start("fit", "--config", config, *fork, cwd=cli.cwd)
    own = cli.run(version=1)
    wait_for(lambda: (own / "checkpoints" / at(finished, 256).name).exists())  # the last of what makes a fork
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = cli("fit", "--config", cli.config(EVAL), "--mode", "resume", "--resume.total_timesteps", 512)
    assert f"run: {Path('lightning_logs/run/version_1')}" in done.out
    same(own, cli.run("straight"))


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("call", ["mkdir", "rename", "openat"])
def test_a_fork_killed_while_it_is_made_is_no_run(cli: Cli, finished: Path, call: str) -> None:
    """Wherever the kill strikes, `resume` finds a whole run: the fork or the one it comes from."""
    config = cli.config(EVAL)
    words = ["fit", "--config", str(config), "--ckpt_path", str(at(finished, 256)), "--resume.fork", "true"]
    words += ["--trainer.default_root_dir", str(cli.cwd / "lightning_logs")]  # strace knows paths as they are given
    own = cli.run(version=1)
    staging = own / "checkpoints" / f".staging-{at(finished, 256).name}"
    paths = [own, own / "lineage.json", own / ".lineage.json", own / "checkpoints", staging, staging / "manifest.json"]

    def fork() -> None:
        os.chdir(cli.cwd)
        raise SystemExit(run_command(words))

    struck = 0
    for number in range(1, 20):
        outcome = traced(fork, cli.cwd / f"traced-{number}", f"{call}:signal=KILL:when={number}", paths=paths)
        if outcome.code != -signal.SIGKILL:
            break
        struck += 1
        cli("fit", "--config", config, "--mode", "resume")
        assert names(finished), "the run that it comes from is as it was"
        shutil.rmtree(own, ignore_errors=True)
    assert struck > 0


def test_a_fork_of_a_requeued_command_is_made_once(cli: Cli, finished: Path) -> None:
    words = ("fit", "--config", cli.config(EVAL), "--mode", "resume", "--resume.checkpoint", at(finished, 128))
    words = (*words, "--resume.fork", "true", "--requeue", "true")
    cli(*words, "--pause_at", 256, expect=75)
    cli(*words, "--pause_at", 384, expect=75)
    cli(*words)
    assert not cli.run(version=2).exists()
    same(cli.run(version=1), cli.run("straight"))


# -- targets ----------------------------------------------------------------------------------------------------


def test_a_target_holds_though_its_segment_saved_nothing(cli: Cli, finished: Path) -> None:
    """With what the schedules were to do."""
    config = cli.config({**EVAL, "model": {"init_args": {"learning_rate": "lin_1e-3"}}}, "lin.yaml")
    cli("fit", "--config", config, "--name", "lin")
    cli("fit", "--config", config, "--name", "whole")
    more = ("--mode", "resume", "--resume.additional_timesteps", 256, "--resume.schedule", "stretch")
    cli("fit", "--config", config, "--name", "whole", *more)
    cli("fit", "--config", config, "--name", "lin", *more, "--pause_at", 1, expect=75)
    done = cli("fit", "--config", config, "--name", "lin", "--mode", "resume")
    assert "finished: timestep 768 of 768" in done.out
    same(cli.run("lin"), cli.run("whole"))


def test_the_same_block_twice_is_the_same_target(cli: Cli) -> None:
    more = ("fit", "--config", cli.config(), "--mode", "resume", "--resume.additional_timesteps", 384)
    cli("fit", "--config", cli.config(), "--pause_at", 128, expect=75)
    for pause in (256, 384):
        assert "of 512" in cli(*more, "--pause_at", pause, expect=75).out
    assert "finished: timestep 512 of 512" in cli(*more).out
    assert "nothing to do" in cli(*more).out
    assert "finished: timestep 640 of 640" in cli(*more[:-1], 128).out


# -- copies and damage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["followed", "files", "only last"])
def test_a_copy_without_links_goes_on(cli: Cli, finished: Path, how: str) -> None:
    cli("fit", "--config", cli.config(EVAL), "--name", "copied", "--pause_at", 256, expect=75)
    run = cli.run("copied")
    copy = run.with_name("copy")
    shutil.copytree(run, copy, symlinks=False)
    shutil.rmtree(run)
    copy.rename(run)
    places = run / "checkpoints"
    if how == "files":  # what some archives make of a link
        for name in ("last", "best"):
            shutil.rmtree(places / name)
            (places / name).write_text("t0000000256-s001")
    if how == "only last":
        for path in places.glob("t*"):
            shutil.rmtree(path)
    last = ("--ckpt_path", places / "last") if how == "followed" else ("--mode", "resume")
    cli("fit", "--config", cli.config(EVAL), "--name", "copied", *last)
    same(run, cli.run("straight"))
    assert (places / "last").is_symlink()


def test_a_file_system_without_links_has_none(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    cli("fit", "--config", cli.config(), "--pause_at", 128, expect=75)
    cli("fit", "--config", cli.config(), "--mode", "resume")
    assert not (cli.run() / "checkpoints" / "last").exists()


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "not text": lambda path: path.write_bytes(b"\xff\xfe\x00" * 100),
    "cut": lambda path: os.truncate(path, 40),
    "gone": lambda path: path.unlink(),
    "a directory": lambda path: (path.unlink(), path.mkdir(), (path / "something").touch()),
}


@pytest.mark.parametrize("name", ["metrics.csv", "monitor.csv", "evaluations.npz", "events"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_log_never_stops_a_resume(cli: Cli, damage: str, name: str) -> None:
    cli("fit", "--config", cli.config(EVAL), "--pause_at", 256, expect=75)
    file = next(
        path for path in cli.run().iterdir() if path.name == name or (name == "events" and "tfevents" in path.name)
    )
    DAMAGE[damage](file)
    done = cli("fit", "--config", cli.config(EVAL), "--mode", "resume")
    said = [line for line in done.out.splitlines() if "WARNING: " in line]
    assert said, done.out
    assert name in said[0]
    steps = [int(row["step"]) for row in metrics(cli.run())]
    assert steps == sorted(set(steps))
    assert steps[-2:] == [384, 512]
    with np.load(cli.run() / "evaluations.npz") as stored:
        assert stored["timesteps"].tolist()[-2:] == [384, 512]
    cli("fit", "--config", cli.config(EVAL), "--mode", "resume", "--resume.additional_timesteps", 128)


def test_damage_is_said_also_where_nothing_is_left_to_do(cli: Cli, finished: Path) -> None:
    (at(finished, 512) / "manifest.json").write_text("{")
    done = cli("fit", "--config", cli.config(EVAL), "--mode", "resume", "--resume.total_timesteps", 384)
    assert "nothing to do" in done.out
    assert "WARNING: " in done.out
    assert "manifest.json is damaged" in done.out
