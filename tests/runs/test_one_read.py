"""At a resume, what is loaded are the bytes that were checked, and each file of a checkpoint is read once."""

from __future__ import annotations

import contextlib
import pickle
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lit_rl import PPO
from lit_rl.callbacks.checkpointing import PlainCheckpointIO
from lit_rl.checkpoint import reader
from lit_rl.errors import DataError
from lit_rl.state.plain import first_difference
from tests.helpers.cli import checkpoints, final_state, forked, lit_rl
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
    """The manifest too; nothing is saved in it, for a save reads back what it wrote."""
    for words in ((), ("--resume.checkpoint", "best"), ("--ckpt_path", cli.run() / "checkpoints" / stopped)):
        with reads() as seen:
            cli("fit", "--config", cli.config(), "--mode", "resume", "--pause_at", 1, *words, expect=75)
        assert {name: count for name, count in seen.items() if name.startswith(stopped)} == {
            f"{stopped}/manifest.json": 1,
            f"{stopped}/lightning.ckpt": 1,
            f"{stopped}/rank_00000.pt": 1,
        }


@pytest.mark.parametrize("command", ["show", "verify-checkpoint", "test"])
def test_so_do_commands_that_look(cli: Cli, stopped: str, command: str) -> None:
    words = ("--config", cli.config(), "--episodes", 1) if command == "test" else (cli.run(),)
    with reads() as seen:
        cli(command, *words)
    for name in ("manifest.json", "lightning.ckpt", "rank_00000.pt"):
        assert seen[f"{stopped}/{name}"] == 1


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
    """Between the check and the Trainer's load, the checkpoint is swapped for another that is whole as well."""
    cli("fit", "--config", cli.config(), "--name", "straight", "--checkpoint.every_timesteps", "null")
    newest, older = checkpoints(cli.run())[-1].path, checkpoints(cli.run())[0].path
    verify = reader.verify

    def then_swapped(where: Any) -> Any:
        opened = verify(where)
        for name in ("manifest.json", "lightning.ckpt", "rank_00000.pt"):
            (newest / name).write_bytes((older / name).read_bytes())
        return opened

    monkeypatch.setattr("lit_rl.checkpoint.store.verify", then_swapped)
    cli("fit", "--config", cli.config(), "--mode", "resume", "--checkpoint.every_timesteps", "null")
    ours, theirs = final_state(cli.run()), final_state(cli.run("straight"))
    assert {name: first_difference(ours[name], theirs[name]) for name in theirs} == dict.fromkeys(theirs)


def test_another_rank_loads_what_rank_0_has_checked_or_nothing(cli: Cli, stopped: str) -> None:
    newest, older = checkpoints(cli.run())[-1].path, checkpoints(cli.run())[0].path
    io = PlainCheckpointIO()
    io.opened = pickle.loads(pickle.dumps(reader.verify(newest)))
    with reads() as seen:
        assert io.load_checkpoint(str(newest / "lightning.ckpt"))["lit_rl"]["run"]["counters"]["timesteps"] == 256
        assert reader.load_rank(io.opened, 0)["environments"]["offset"] == 0
    assert seen == {f"{stopped}/lightning.ckpt": 1, f"{stopped}/rank_00000.pt": 1}
    for name in ("manifest.json", "lightning.ckpt", "rank_00000.pt"):
        (newest / name).write_bytes((older / name).read_bytes())  # whole, and not what rank 0 has checked
    for load in (lambda: io.load_checkpoint(newest / "lightning.ckpt"), lambda: reader.load_rank(io.opened, 0)):
        with pytest.raises(DataError, match=r"damaged"):
            load()


def test_bytes_are_held_until_they_are_used_and_do_not_travel(cli: Cli, stopped: str) -> None:
    opened = reader.verify(cli.run() / "checkpoints" / stopped)
    assert opened.held.keys() == {"lightning.ckpt", "rank_00000.pt"}
    assert pickle.loads(pickle.dumps(opened)).held == {}
    looked = opened.look("lightning.ckpt")
    assert opened.held.keys() == {"rank_00000.pt"}
    assert pickle.loads(pickle.dumps(opened)).parsed == {}
    assert reader.load_lightning(opened) is looked
    assert opened.parsed == {}, "Lightning may change what it is given"
    opened.release()
    assert opened.held == {}
    assert parts_of(opened)["counters"]["timesteps"] == 256, "what is asked for again is read, and checked, again"


def _reads_of_each(cli: Cli, stopped: str, *words: Any) -> dict[int, dict[str, int]]:
    """How often each rank of a resume opens each file of a checkpoint."""
    log = cli.cwd / "reads"
    log.unlink(missing_ok=True)
    process = forked("tests.helpers.reading", log, "fit", "--mode", "resume", *words, cwd=cli.cwd)
    out, err = process.communicate(timeout=120)
    assert process.wait() == 75, out + err
    found: dict[int, Counter[str]] = {}
    for line in log.read_text().splitlines():
        rank, path = line.split(" ", 1)
        if Path(path).parent.name == stopped:
            found.setdefault(int(rank), Counter())[Path(path).name] += 1
    return {rank: dict(counts) for rank, counts in found.items()}


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_several_ranks_read_what_they_need(cli: Cli) -> None:
    """In processes of their own; a file of another rank that is damaged is found by rank 0, for all."""
    config = cli.config({"trainer": {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}})
    lit_rl("fit", "--config", config, "--pause_at", 256, cwd=cli.cwd, expect=75)
    stopped = checkpoints(cli.run())[-1].path.name
    names = ("manifest.json", "lightning.ckpt", "rank_00000.pt", "rank_00001.pt")
    one = ("--pause_at", 1, "--trainer.devices", 1, "--trainer.strategy", "auto")
    assert _reads_of_each(cli, stopped, "--config", config, *one) == {0: dict.fromkeys(names, 1)}
    assert _reads_of_each(cli, stopped, "--config", config, "--pause_at", 1) == {
        0: dict.fromkeys(names, 1),
        1: {"lightning.ckpt": 1, "rank_00001.pt": 1},
    }
    lit_rl("fit", "--config", config, "--mode", "resume", cwd=cli.cwd)
    assert checkpoints(cli.run())[-1].manifest.timesteps == 512
    file = checkpoints(cli.run())[-1].path / "rank_00001.pt"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    more = ("--resume.total_timesteps", 768, "--resume.strict", "true")
    done = lit_rl("fit", "--config", config, "--mode", "resume", *more, cwd=cli.cwd, expect=65)
    assert "digest mismatch" in done.stderr
