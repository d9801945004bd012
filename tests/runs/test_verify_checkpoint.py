"""`verify-checkpoint`, and what damage looks like to it, to `show` and to `resume`."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lit_rl import PPO
from lit_rl.cli.dispatch import run_command
from lit_rl.state.parts import union
from tests.helpers.cli import checkpoints, write_config
from tests.helpers.hostile import forge, saved
from tests.runs.conftest import Cli


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints at 128 and 256."""
    cwd = tmp_path_factory.mktemp("honest")
    words = ["--pause_at", "256", "--trainer.default_root_dir", str(cwd)]
    assert run_command(["fit", "--config", str(write_config(cwd)), *words]) == 75
    return cwd / "run" / "version_0"


@pytest.fixture
def run(cli: Cli, honest: Path) -> Path:
    shutil.copytree(honest, cli.run(), symlinks=True)
    return cli.run()


def test_a_whole_checkpoint(cli: Cli, run: Path) -> None:
    newest = checkpoints(run)[-1].path
    for path in (newest, newest / "lightning.ckpt", newest / "manifest.json"):
        lines = cli("verify-checkpoint", path).out.splitlines()
        assert lines[0] == f"{newest}: good"
        names = [line.split()[0] for line in lines[1:]]
        expected = {"policy", "obs_moments", "reward_moments", "optimizer", "lr_schedule", *union(PPO, "PARTS")} - {
            "logs"
        }
        assert names[:3] == ["manifest.json", "lightning.ckpt", "rank_00000.pt"]
        assert set(names[3:]) == expected


def test_a_run_directory_is_all_its_checkpoints(cli: Cli, run: Path) -> None:
    shown = json.loads(cli("show", run, "--json").out)
    for path in (run, run / "checkpoints"):
        told = json.loads(cli("verify-checkpoint", path, "--json").out)
        assert told["good"] is True
        assert [Path(c["path"]).name for c in told["checkpoints"]] == ["t0000000128-s001", "t0000000256-s001"]
        assert told["checkpoints"][-1]["parts"] == shown["parts"]


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 16
    file.write_bytes(data)


def _empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("name", ["manifest.json", "lightning.ckpt", "rank_00000.pt"])
@pytest.mark.parametrize("damage", [_cut, _flip, _empty, Path.unlink], ids=["cut", "flipped", "empty", "missing"])
def test_damage_is_told_by_every_command(cli: Cli, run: Path, name: str, damage: Callable[[Path], None]) -> None:
    """Rows 14 to 16: the file is named, the older one is taken, loudly; `strict` refuses; nothing good is an error."""
    older, newest = (checkpoint.path for checkpoint in checkpoints(run))
    config = cli.config()
    damage(newest / name)
    said = cli("verify-checkpoint", run, expect=65).out
    assert f"{newest}: DAMAGED" in said
    assert f"{older}: good" in said
    assert name in said
    shown = cli("show", run).out
    assert f"checkpoint: {older}" in shown
    assert "WARNING: " in shown
    assert str(newest) in shown
    assert str(newest.name) in cli("show", newest, expect=65).err
    resume = ("fit", "--config", config, "--mode", "resume")
    assert newest.name in cli.error(*resume, "--resume.strict", "true", expect=65)
    done = cli(*resume, "--pause_at", 128, expect=75)
    assert f"checkpoint: {older.name}" in done.out
    assert newest.name in done.out
    damage(older / name)
    assert "has no good checkpoint" in cli.error(*resume, expect=65)
    assert "has no good checkpoint" in cli.error("show", run, expect=65)


def test_last_is_never_another_run_because_this_one_is_damaged(cli: Cli, run: Path) -> None:
    """Row 17: the newest run of the name has nothing good, and the one before it has."""
    shutil.copytree(run, cli.run(version=1), symlinks=True)
    for checkpoint in checkpoints(cli.run(version=1)):
        (checkpoint.path / "manifest.json").write_bytes(b"")
    message = cli.error("fit", "--config", cli.config(), "--mode", "resume", expect=65)
    assert "version_1 has no good checkpoint" in message


def test_numbers_that_are_not_finite_are_found(cli: Cli, run: Path) -> None:
    newest = checkpoints(run)[-1]
    state = torch.load(newest.lightning_file, weights_only=True)
    name = next(iter(state["state_dict"]))
    state["state_dict"][name].view(-1)[0] = math.inf
    forge(newest.path, "lightning.ckpt", saved(state))
    said = cli("verify-checkpoint", newest.path, expect=65).out
    assert f"{name} (1 of " in said
    assert "is not finite" in said


def test_a_missing_part_is_found(cli: Cli, run: Path) -> None:
    newest = checkpoints(run)[-1]
    state = torch.load(newest.lightning_file, weights_only=True)
    del state["lit_rl"]["run"]["clock"]
    forge(newest.path, "lightning.ckpt", saved(state))
    assert (
        "part 'clock' is missing: target and horizon of every schedule"
        in cli("verify-checkpoint", newest.path, expect=65).out
    )


def test_a_run_may_be_named(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parents[2])
    by_path = cli("verify-checkpoint", run.relative_to(Path.cwd())).out
    assert (
        by_path == cli("verify-checkpoint", run.parent.name).out == cli("verify-checkpoint", f"{run.parent.name}/0").out
    )


def test_what_is_no_checkpoint(cli: Cli) -> None:
    assert "is not there" in cli.error("verify-checkpoint", "nowhere")
    (cli.cwd / "bare.ckpt").write_bytes(b"x")
    assert "is a bare file" in cli.error("verify-checkpoint", "bare.ckpt")
    (cli.cwd / "empty" / "checkpoints").mkdir(parents=True)
    assert "holds no checkpoint" in cli.error("verify-checkpoint", "empty", expect=65)
    assert "it is not a committed checkpoint" in cli("verify-checkpoint", cli.cwd, expect=65).out
