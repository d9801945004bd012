"""Files that somebody made on purpose: refused in one line by everything that opens them, and nothing is run."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lit_rl import PPO
from lit_rl.checkpoint.reader import loads
from lit_rl.cli.dispatch import run_command
from lit_rl.errors import ConfigError, DataError
from tests.helpers.cli import checkpoints, write_config
from tests.helpers.hostile import HOSTILE, deflated_bomb, forge, lying_tensor, runs_code, saved
from tests.helpers.strace import forked
from tests.runs.conftest import Cli

Make = Callable[[bytes, Path], bytes]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one checkpoint, which nobody has touched."""
    cwd = tmp_path_factory.mktemp("honest")
    words = ["--pause_at", "128", "--trainer.default_root_dir", str(cwd)]
    assert run_command(["fit", "--config", str(write_config(cwd)), *words]) == 75
    return cwd / "run" / "version_0"


@pytest.fixture
def run(cli: Cli, honest: Path) -> Path:
    """A copy of that run, where `last` finds it."""
    shutil.copytree(honest, cli.run(), symlinks=True)
    return cli.run()


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", ["lightning.ckpt", "rank_00000.pt"])
def test_in_a_checkpoint(cli: Cli, run: Path, marker: Path, make: Make, name: str) -> None:
    """Rows 21 and 23. The digests are right: whoever made the file made the manifest too."""
    checkpoint = checkpoints(run)[-1].path
    forge(checkpoint, name, make((checkpoint / name).read_bytes(), marker))
    config = cli.config()
    for words in (("show", run), ("show", checkpoint), ("fit", "--config", config, "--mode", "resume")):
        done = cli(*words, expect=65)
        assert done.err.startswith("error: ")
        assert f"{name} cannot be opened as tensors and plain values" in done.err
        assert done.err.count("\n") == 1
    assert "DAMAGED" in cli("verify-checkpoint", run, expect=65).out
    if name == "lightning.ckpt":
        for words in (("fit", "--mode", "warmstart", "--warmstart.checkpoint", checkpoint), ("test",)):
            assert "cannot be opened" in cli(words[0], "--config", config, *words[1:], expect=65).err
        with pytest.raises(DataError, match="cannot be opened"):
            PPO.load_from_checkpoint(checkpoint)
    assert not marker.exists()


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_in_a_bare_file(cli: Cli, run: Path, marker: Path, make: Make) -> None:
    bare = cli.cwd / "bare.ckpt"
    bare.write_bytes(make((checkpoints(run)[-1].path / "lightning.ckpt").read_bytes(), marker))
    words = ("fit", "--config", cli.config(), "--mode", "warmstart", "--warmstart.checkpoint", bare)
    assert "cannot be opened" in cli.error(*words, expect=65)
    assert "cannot be opened" in cli.error("show", bare, expect=65)
    with pytest.raises(DataError, match="cannot be opened"):
        PPO.load_from_checkpoint(bare)


def test_the_poison_works(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / "poisoned"
    path.write_bytes(runs_code(b"", mark))
    torch.load(path, weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize("make", [deflated_bomb, lying_tensor], ids=lambda make: make.__name__)
def test_before_memory_is_taken(tmp_path: Path, make: Make) -> None:
    """Row 23 under a limit: 64 MiB more than the process has are enough to refuse it."""
    data = make(saved({"state_dict": {"a": torch.zeros(4)}}), tmp_path)

    def work() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
        loads(data, Path("bomb.ckpt"))

    outcome = forked(work, tmp_path / "work")
    assert outcome.code == 65, outcome.error
    assert "bomb.ckpt cannot be opened" in outcome.error


@pytest.fixture
def marked_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that leaves a mark when it is imported; its name."""
    mark = tmp_path / "imported"
    (tmp_path / "marked_module.py").write_text(
        f"open({str(mark)!r}, 'w')\nclass Thing:\n    def __init__(self, *a, **k): open({str(mark)!r}, 'w')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "marked_module"
    assert not mark.exists(), "something was imported because a checkpoint said so"
    assert "marked_module" not in sys.modules


def _names_classes(settings: dict[str, Any], name: str) -> dict[str, Any]:
    thing = f"{name}.Thing"
    env = {**settings["env"], "class_path": thing, "wrappers": [{"class_path": thing, "init_args": {}}]}
    level = {"name": "a", "promote": {"class_path": thing, "init_args": {}}}
    return {
        **settings,
        "env": env,
        "policy": thing,
        "policy_kwargs": {"activation_fn": thing, "features_extractor_class": thing, "optimizer_class": thing},
        "curriculum": {"levels": [level]},
        "_class_path": thing,
        "_instantiator": f"{name}.make",
    }


def test_class_names_in_a_checkpoint_are_not_imported(cli: Cli, run: Path, marked_module: str) -> None:
    """Row 22: settings of a checkpoint are compared and shown, never carried out."""
    checkpoint = checkpoints(run)[-1]
    state = torch.load(checkpoint.lightning_file, weights_only=True)
    state["hyper_parameters"] = _names_classes(state["hyper_parameters"], marked_module)
    state["hparams_name"] = "kwargs"
    state["datamodule_hparams_name"] = f"{marked_module}.Thing"
    forge(checkpoint.path, "lightning.ckpt", saved(state))
    config = cli.config()
    assert f"{marked_module}.Thing" in cli("show", run, "--json").out
    cli("show", run)
    cli("verify-checkpoint", run)
    cli("test", "--config", config, "--episodes", 1)
    assert marked_module in cli("fit", "--config", config, "--mode", "resume", expect=2).err
    cli("fit", "--config", config, "--mode", "resume", "--resume.on_config_change", "accept")
    cli("fit", "--config", config, "--mode", "warmstart", "--warmstart.checkpoint", checkpoint.path, "--name", "warm")
    with pytest.raises(ConfigError, match="the checkpoint names"):
        PPO.load_from_checkpoint(checkpoint.path)
    with pytest.raises(ConfigError, match="the checkpoint names"):
        PPO.load_from_checkpoint(checkpoint.path, curriculum={})


@pytest.mark.parametrize("address", ["https://example.org/x", "s3://bucket/x", "file:///etc/hostname", "hf://a/b"])
def test_remote_paths_are_refused(cli: Cli, address: str) -> None:
    """Row 24."""
    config = cli.config()
    for words in (
        ("show", address),
        ("verify-checkpoint", address),
        ("fit", "--config", config, "--ckpt_path", address),
        ("fit", "--config", config, "--mode", "resume", "--resume.checkpoint", address),
        ("fit", "--config", config, "--mode", "warmstart", "--warmstart.checkpoint", address),
        ("test", "--config", config, "--ckpt_path", address),
    ):
        assert "is a remote address" in cli.error(*words)
    with pytest.raises(ConfigError, match="is a remote address"):
        PPO.load_from_checkpoint(address)


def test_a_pipe_in_place_of_a_file(cli: Cli, run: Path) -> None:
    """It would be waited for; its size is that of an empty file."""
    checkpoint = checkpoints(run)[-1].path
    forge(checkpoint, "rank_00000.pt", b"")
    (checkpoint / "rank_00000.pt").unlink()
    os.mkfifo(checkpoint / "rank_00000.pt")
    assert "not an ordinary file" in cli("show", checkpoint, expect=65).err
    assert "not an ordinary file" in cli("verify-checkpoint", checkpoint, expect=65).out
