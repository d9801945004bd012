"""When a run saves, what it keeps, and what it does when the disk says no."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lit_rl.algorithms.ppo import PPO
from lit_rl.cli.dispatch import run_command
from lit_rl.errors import EXIT_IO
from lit_rl.state.plain import first_difference
from tests.helpers.cli import checkpoints, environment, final_state, lineage, write_config
from tests.helpers.strace import needs_strace, traced
from tests.runs.conftest import Cli
from tests.runs.test_levels import write

EVALUATED = {"eval": {"every": 128, "episodes": 1}}


def saved(run: Path) -> list[tuple[int, str]]:
    """Timestep and reason of every checkpoint, oldest first."""
    return [(c.manifest.timesteps, c.manifest.reason) for c in checkpoints(run)]


def assert_same_state(a: Path, b: Path) -> None:
    ours, theirs = final_state(a), final_state(b)
    for name in ours:
        assert first_difference(ours[name], theirs[name], name) is None


def test_reasons_of_an_ordinary_run(cli: Cli) -> None:
    config = cli.config({"checkpoint": {"every_timesteps": 256}})
    cli("fit", "--config", config, "--pause_at", 384, expect=75)
    cli("fit", "--config", config, "--mode", "resume")
    assert saved(cli.run()) == [(256, "interval"), (384, "stop"), (512, "finish")]


class _Clock:
    """A clock on which every iteration takes 20 seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = 0.0
        inner = PPO.collect

        def collect(module: PPO) -> Any:
            self._now += 20.0
            return inner(module)

        monkeypatch.setattr(PPO, "collect", collect)
        monkeypatch.setattr("lit_rl.training.loop.time.monotonic", lambda: self._now)


def test_every_minutes_counts_training_over_all_segments(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute is three iterations; a stop in between neither loses a save nor adds one."""
    _Clock(monkeypatch)
    over = {"total_timesteps": 1280, "checkpoint": {"every_timesteps": None, "every_minutes": 1.0, "keep_last": 50}}
    config = cli.config(over)
    cli("fit", "--config", config, "--name", "a")
    assert saved(cli.run("a")) == [(384, "interval"), (768, "interval"), (1152, "interval"), (1280, "finish")]
    cli("fit", "--config", config, "--name", "b", "--pause_at", 256, expect=75)
    cli("fit", "--config", config, "--name", "b", "--mode", "resume", "--pause_at", 640, expect=75)
    cli("fit", "--config", config, "--name", "b", "--mode", "resume")
    assert saved(cli.run("b")) == sorted([*saved(cli.run("a")), (256, "stop"), (640, "stop")])
    cli("fit", "--config", config, "--name", "c", "--checkpoint.every_minutes", "0.5")
    assert [t for t, _ in saved(cli.run("c"))] == [256, 384, 640, 768, 1024, 1152, 1280]
    assert_same_state(cli.run("a"), cli.run("b"))
    assert_same_state(cli.run("a"), cli.run("c"))


def test_save_best_and_keep_every_change_what_is_kept_and_nothing_that_is_learned(cli: Cli) -> None:
    over = {**EVALUATED, "total_timesteps": 1280, "checkpoint": {"every_timesteps": None, "keep_last": 50}}
    config = cli.config(over)
    cli("fit", "--config", config, "--name", "a")
    cli("fit", "--config", config, "--name", "b", "--checkpoint.save_best", "false")
    assert ("best" in [reason for _, reason in saved(cli.run("a"))[:-1]]) is True
    assert [t for t, _ in saved(cli.run("b"))] == [1280]
    words = ("--checkpoint.every_timesteps", 128, "--checkpoint.keep_last", 1, "--checkpoint.save_best", "false")
    cli("fit", "--config", config, "--name", "c", *words, "--eval.every", "null")
    cli("fit", "--config", config, "--name", "d", *words, "--eval.every", "null", "--checkpoint.keep_every", 500)
    more = {t for t, _ in saved(cli.run("d"))} - {t for t, _ in saved(cli.run("c"))}
    assert {512, 1024} <= {t for t, _ in saved(cli.run("d"))}
    assert more
    assert_same_state(cli.run("a"), cli.run("b"))
    assert_same_state(cli.run("c"), cli.run("d"))


def test_before_promotion_saves_at_the_boundary_and_keeps_it(cli: Cli) -> None:
    """Nothing has been played on the new level, and training can begin there anew."""
    config = write(cli, {"checkpoint": {"every_timesteps": 32, "keep_last": 1}})
    cli("fit", "--config", config, "--name", "a")
    assert "promotion" not in [reason for _, reason in saved(cli.run("a"))]
    cli("fit", "--config", config, "--name", "b", "--checkpoint.before_promotion", "true")
    kept = [c for c in checkpoints(cli.run("b")) if c.manifest.reason == "promotion"]
    promotions = [change["timesteps"] for change in final_state(cli.run("a"))["curriculum"]["history"]]
    assert [c.manifest.timesteps for c in kept] == promotions
    assert len(promotions) == 2
    for number, checkpoint in enumerate(kept):
        level = cli("show", checkpoint.path, "--json").out
        assert f'"index": {number + 1}' in level
        assert '"timesteps": 0,\n    "episodes": 0' in level
    assert_same_state(cli.run("a"), cli.run("b"))
    cli("fit", "--config", config, "--name", "b", "--ckpt_path", kept[0].path)
    assert_same_state(cli.run("a"), cli.run("b"))


@pytest.mark.parametrize(
    ("over", "text"),
    [
        ({"every_minutes": 0}, "checkpoint.every_minutes is 0"),
        ({"every_minutes": float("inf")}, "checkpoint.every_minutes is inf"),
        ({"keep_every": 0}, "checkpoint.keep_every is 0"),
        ({"every_timesteps": 0}, "checkpoint.every_timesteps is 0"),
        ({"before_promotion": True}, "this run has no curriculum"),
        ({"keep_evry": 1}, "Did you mean 'keep_every'?"),
    ],
)
def test_mistakes_name_the_key(cli: Cli, over: dict[str, Any], text: str) -> None:
    assert text in cli.error("fit", "--config", cli.config({"checkpoint": over}))


def test_a_kill_after_the_last_save_is_put_right_by_the_next_start(cli: Cli) -> None:
    """Rows 1 and 30: the run is finished, so that there is nothing else to do. Found by `benchmarks/soak.py`."""
    config = cli.config()
    cli("fit", "--config", config)
    directory = cli.run() / "checkpoints"
    (directory / ".staging-removed-t0000000128-s001").mkdir()
    (directory / "last").unlink()
    (directory / "last").symlink_to("t0000000256-s001")
    (directory / "best").unlink()
    (cli.run() / ".aside-s001.tar").write_bytes(b"")  # of a segment that has saved
    assert "nothing to do" in cli("fit", "--config", config, "--mode", "resume").out
    assert (directory / "last").resolve().name == "t0000000512-s001"
    assert (directory / "best").exists()
    left = [path.name for place in (cli.run(), directory) for path in place.glob(".*")]
    assert [name for name in left if name != ".lock"] == []


def test_a_moved_run_directory_without_its_links_goes_on(cli: Cli) -> None:
    """Row 30."""
    config = cli.config()
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--pause_at", 256, expect=75)
    (cli.run() / "checkpoints" / "last").unlink()
    elsewhere = cli.cwd / "elsewhere"
    shutil.copytree(cli.run(), cli.cwd / "copy", symlinks=True)
    shutil.move(cli.run(), elsewhere)
    for place in (elsewhere, cli.cwd / "copy"):
        cli("show", place)
        cli("fit", "--config", config, "--ckpt_path", place)
        assert_same_state(place, cli.run("straight"))
        assert (place / "checkpoints" / "last").resolve() == checkpoints(place)[-1].path


# -- the disk says no ----------------------------------------------------------------------------------------------


def fit(config: Path, cwd: Path, *words: str) -> None:
    code = run_command(["fit", "--config", str(config), "--trainer.default_root_dir", str(cwd / "runs"), *words])
    if code != 0:
        raise SystemExit(code)


@needs_strace
@pytest.mark.parametrize(("call", "error", "text"), [
    ("fsync", "EIO", "Input/output error"), ("fsync", "ENOSPC", "No space left on device"),
    ("mkdir", "EROFS", "Read-only file system"),
])  # fmt: skip
def test_a_run_whose_disk_fails_says_so_leaves_with_74_and_goes_on_later(
    tmp_path: Path, call: str, error: str, text: str
) -> None:
    """Rows 4, 5 and 6 through the command line: from some call on, everything fails."""
    config = write_config(tmp_path)
    straight = tmp_path / "straight"
    straight.mkdir()
    assert _fit(straight, config).code == 0
    path = tmp_path / "runs" / "run" / "version_0" / "checkpoints"
    staging = path / ".staging-t0000000256-s001"
    inject = f"{call}:error={error}:when=1+"
    names = ("lightning.ckpt", "rank_00000.pt", "manifest.json")
    outcome = _fit(tmp_path, config, inject, staging, *(staging / name for name in names))
    assert outcome.code == EXIT_IO, outcome.out
    assert text in outcome.out
    assert outcome.out.splitlines()[-1].startswith("error: cannot write ")
    assert "Traceback" not in outcome.out
    run = path.parent
    assert [c.manifest.timesteps for c in checkpoints(run)] == [128]
    assert not [p.name for p in path.iterdir() if p.name.startswith(".")]
    assert lineage(run)["segments"][0]["cause"].startswith("error: ")
    assert _fit(tmp_path, config, mode="resume").code == 0
    assert_same_state(run, straight / "runs" / "run" / "version_0")


def _fit(cwd: Path, config: Path, *inject: Any, mode: str = "fresh") -> Any:
    """Fit in a process of its own; what it said on either stream is in `out`, its code in `code`."""
    rule, paths = (inject[0], inject[1:]) if inject else (None, ())

    def work() -> None:
        os.dup2(1, 2)
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        fit(config, cwd, "--mode", mode)

    return traced(work, cwd / "trace", *([rule] if rule else []), paths=paths)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_stops_the_run_with_one_line_and_room_lets_it_go_on(small_disk: Path, cli: Cli) -> None:
    """Row 5 on a real disk, which something else fills up while the run goes."""
    over = {"total_timesteps": 2560, "checkpoint": {"every_timesteps": 128, "keep_last": 3}}
    config = cli.config({**over, "trainer": {"default_root_dir": str(small_disk)}})
    cli("fit", "--config", config, "--pause_at", 512, expect=75)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * max(0, shutil.disk_usage(small_disk).free - 8192))
    done = cli("fit", "--config", config, "--mode", "resume", expect=EXIT_IO)
    assert "No space left on device" in done.err
    assert done.err.startswith("error: cannot write ")
    assert done.err.count("\n") == 1
    run = small_disk / "run" / "version_0"
    assert checkpoints(run)[-1].manifest.timesteps >= 512
    filler.unlink()
    cli("fit", "--config", config, "--mode", "resume")
    cli("fit", "--config", cli.config(over), "--name", "straight")
    assert_same_state(run, cli.run("straight"))


def test_a_state_that_is_not_finite_stops_the_run_and_is_not_saved(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 28: the newest checkpoint stays the last good one."""
    inner = PPO.update

    def update(module: PPO, rollout: Any) -> dict[str, float]:
        found = inner(module, rollout)
        if module.counters.timesteps >= 384:
            with torch.no_grad():
                next(iter(module.policy.parameters()))[0, 0] = float("nan")
        return found

    monkeypatch.setattr(PPO, "update", update)
    done = cli("fit", "--config", cli.config(), expect=1)
    assert "not saved: policy." in done.err
    assert "first nan) is not finite" in done.err
    assert [t for t, _ in saved(cli.run())] == [128, 256]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("buffered", [True, False])
def test_standard_output_on_a_full_disk_is_one_line_too(tmp_path: Path, buffered: bool) -> None:
    config = write_config(tmp_path)
    command = [sys.executable, "-m", "lit_rl", "fit", "--config", str(config)]
    env = {**environment(), "PYTHONUNBUFFERED": "" if buffered else "1"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, env=env, check=False
        )
    assert done.returncode == EXIT_IO, done.stderr
    assert done.stderr.count("No space left on device") == 1
    assert "Traceback" not in done.stderr
