"""At a resume, what is loaded are the bytes that were checked, and each file of a checkpoint is read once."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lit_rl import PPO
from lit_rl.callbacks.checkpointing import PlainCheckpointIO
from lit_rl.checkpoint import reader
from lit_rl.errors import DataError
from tests.helpers.cli import checkpoints, final_state, lit_rl
from tests.helpers.cli import parts as parts_of
from tests.runs.conftest import Cli

_watched: list[Counter[str]] = []


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and _watched and isinstance(args[0], str) and (args[2] or 0) & 3 == 0:
        path = Path(args[0])
        _watched[-1][f"{path.parent.name}/{path.name}"] += 1


sys.addaudithook(_hook)


@contextlib.contextmanager
def reads() -> Iterator[Counter[str]]:
    """How often each file is opened for reading in here."""
    _watched.append(Counter())
    try:
        yield _watched[-1]
    finally:
        _watched.clear()


@pytest.fixture
def stopped(cli: Cli) -> str:
    """A run that was stopped at timestep 256, with two checkpoints; the name of the newer."""
    cli("fit", "--config", cli.config(), "--pause_at", 256, expect=75)
    return checkpoints(cli.run())[-1].path.name


def test_a_resume_reads_each_file_once(cli: Cli, stopped: str) -> None:
    with reads() as seen:  # nothing is saved in it: a save reads back what it wrote
        cli("fit", "--config", cli.config(), "--mode", "resume", "--pause_at", 1, expect=75)
    assert {name: count for name, count in seen.items() if name.startswith(stopped) and "manifest" not in name} == {
        f"{stopped}/lightning.ckpt": 1,
        f"{stopped}/rank_00000.pt": 1,
    }


@pytest.mark.parametrize("words", [("show",), ("test", "--episodes", "1")])
def test_so_do_commands_that_look(cli: Cli, stopped: str, words: tuple[str, ...]) -> None:
    words = (*words, str(cli.run())) if words[0] == "show" else (*words, "--config", str(cli.config()))
    with reads() as seen:
        cli(*words)
    assert seen[f"{stopped}/lightning.ckpt"] == 1
    assert seen[f"{stopped}/rank_00000.pt"] == 1


def test_load_from_checkpoint_reads_once_and_checks_the_digest(cli: Cli, stopped: str) -> None:
    path = cli.run() / "checkpoints" / stopped
    with reads() as seen:
        module = PPO.load_from_checkpoint(path)
    assert seen[f"{stopped}/lightning.ckpt"] == 1
    assert module.counters.timesteps == 256
    older = checkpoints(cli.run())[0].path / "lightning.ckpt"
    (path / "lightning.ckpt").write_bytes(older.read_bytes())  # whole, and another's
    with pytest.raises(DataError, match=r"damaged"):
        PPO.load_from_checkpoint(path)
    with pytest.raises(DataError, match=r"damaged"):
        PlainCheckpointIO().load_checkpoint(path / "lightning.ckpt")


def test_what_is_trained_on_is_what_was_checked(cli: Cli, stopped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the check and the Trainer's load, a file is swapped for another that is whole as well."""
    cli("fit", "--config", cli.config(), "--name", "straight", "--checkpoint.every_timesteps", "null")
    newest, older = checkpoints(cli.run())[-1].path, checkpoints(cli.run())[0].path
    verify = reader.verify

    def then_swapped(where: Any) -> Any:
        opened = verify(where)
        for name in ("lightning.ckpt", "rank_00000.pt"):
            (newest / name).write_bytes((older / name).read_bytes())
        return opened

    monkeypatch.setattr("lit_rl.checkpoint.store.verify", then_swapped)
    cli("fit", "--config", cli.config(), "--mode", "resume", "--checkpoint.every_timesteps", "null")
    ours, theirs = final_state(cli.run()), final_state(cli.run("straight"))
    assert all(torch.equal(ours["policy"][name], theirs["policy"][name]) for name in theirs["policy"])


def test_bytes_are_held_until_they_are_used_and_do_not_travel(cli: Cli, stopped: str) -> None:
    import pickle

    opened = reader.verify(cli.run() / "checkpoints" / stopped)
    assert opened.held.keys() == {"lightning.ckpt", "rank_00000.pt"}
    assert pickle.loads(pickle.dumps(opened)).held == {}
    reader.load_lightning(opened)
    assert opened.held.keys() == {"rank_00000.pt"}
    assert parts_of(opened)["counters"]["timesteps"] == 256, "what is asked for again is read, and checked, again"


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_several_ranks_read_what_they_need(cli: Cli) -> None:
    """In processes of their own; a file of another rank that is damaged is found by rank 0, for all."""
    config = cli.config({"trainer": {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}})
    lit_rl("fit", "--config", config, "--pause_at", 256, cwd=cli.cwd, expect=75)
    lit_rl("fit", "--config", config, "--mode", "resume", cwd=cli.cwd)
    assert checkpoints(cli.run())[-1].manifest.timesteps == 512
    file = checkpoints(cli.run())[-1].path / "rank_00001.pt"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    more = ("--resume.total_timesteps", 768, "--resume.strict", "true")
    done = lit_rl("fit", "--config", config, "--mode", "resume", *more, cwd=cli.cwd, expect=65)
    assert "digest mismatch" in done.stderr
