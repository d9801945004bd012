"""`lit-rl runs` and `lit-rl show NAME`: what is there, in what state, and nothing of it disturbed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lit_rl.run.directory import RunLock
from tests.helpers.cli import environment
from tests.runs.conftest import Cli


def listed(cli: Cli, *words: Any) -> dict[str, dict[str, Any]]:
    records = json.loads(cli("runs", *words, "--json").out)
    return {f"{each['name']}/{each['version']}": each for each in records}


def changed(file: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_every_run_is_listed_with_what_it_is(cli: Cli, runs: Path) -> None:
    found = listed(cli)
    assert list(found) == [
        "forked/version_0", "levels/version_0", "paused/version_0", "resumed/version_0", "run/version_1",
        "run/version_0", "warm/version_0",
    ]  # fmt: skip
    run = found["run/version_0"]
    assert {key: run[key] for key in ("env", "algorithm", "seed", "mode", "timesteps", "target", "state")} == {
        "env": "CartPole-v1", "algorithm": "PPO", "seed": 1, "mode": "fresh", "timesteps": 512, "target": 512,
        "state": "finished",
    }  # fmt: skip
    assert run["returns"]["source"] == "evaluation"
    assert run["returns"]["best"] >= run["returns"]["last"] > 0
    assert found["paused/version_0"]["state"] == "paused"
    assert found["paused/version_0"]["timesteps"] == 256
    assert found["resumed/version_0"]["segments"] == 2
    assert found["forked/version_0"]["mode"] == "fork"
    assert "paused/version_0/checkpoints/t0000000256-s001" in found["forked/version_0"]["parent"]
    levels = found["levels/version_0"]
    assert (levels["level"], levels["level_name"], levels["levels"]) == (1, "far <b>", 2)
    assert levels["returns"]["source"] == "training"


@pytest.mark.parametrize(("width", "has", "lacks"), [("80", "env", "parent"), ("200", "parent", "..")])
def test_the_table_fits(
    cli: Cli, runs: Path, monkeypatch: pytest.MonkeyPatch, width: str, has: str, lacks: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    lines = cli("runs").out.splitlines()
    assert len(lines) == 8
    assert max(map(len, lines)) <= int(width)
    assert has in lines[0]
    assert lacks not in "\n".join(lines)


def test_a_name_is_whole_before_columns_are_left_out(cli: Cli, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(runs / "run" / "version_1" / "lineage.json", lambda lineage: lineage.update(name="pendulum_sac_gsde"))
    monkeypatch.setenv("COLUMNS", "80")
    lines = cli("runs").out.splitlines()
    assert max(map(len, lines)) <= 80
    names = [line.split()[0] for line in lines[1:]]
    assert "pendulum_sac_gsde/1" in names, "a name is what other commands take"
    monkeypatch.setenv("COLUMNS", "60")
    assert "pendulum_sac_gsde/1" in cli("runs").out


def test_a_narrow_terminal_still_has_name_and_state(cli: Cli, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    lines = cli("runs", "run").out.splitlines()
    assert lines[1].split()[:2] == ["run/1", "finished"]
    assert max(map(len, lines)) <= 30


def test_a_held_run_is_running_and_is_not_disturbed(cli: Cli, runs: Path) -> None:
    lock = RunLock(runs / "paused" / "version_0")
    assert listed(cli, "paused")["paused/version_0"]["state"] == "running"
    lock.release()
    assert listed(cli, "paused")["paused/version_0"]["state"] == "paused"


@pytest.mark.parametrize(("host", "state"), [(None, "killed"), ("another machine", "unknown")])
def test_a_run_without_an_end(cli: Cli, runs: Path, host: str | None, state: str) -> None:
    run = runs / "paused" / "version_0"
    changed(
        run / "lineage.json", lambda lineage: lineage["segments"][-1].update(end=None, to_timesteps=None, cause=None)
    )
    if host is not None:
        changed(run / ".lock", lambda holder: holder.update(host=host))
    found = listed(cli, "paused")["paused/version_0"]
    assert found["state"] == state
    assert found["timesteps"] == 256


def test_damaged_runs_are_listed_and_say_why(cli: Cli, runs: Path) -> None:
    (runs / "paused" / "version_0" / "lineage.json").write_text("{")
    for manifest in (runs / "forked" / "version_0").rglob("manifest.json"):
        manifest.write_text(manifest.read_text().replace("1", "2"))
    (runs / "warm" / "version_0" / "config.yaml").write_bytes(b"\xff: [")
    (runs / "run" / "version_0" / "evaluations.npz").write_bytes(b"PK\x03\x04")
    (runs / "run" / "version_9").mkdir()
    done = cli("runs")
    assert "paused/version_0: lightning_logs/paused/version_0/lineage.json is damaged" in done.out
    found = listed(cli)
    states = {name: each["state"] for name, each in found.items()}
    assert states["paused/version_0"] == states["forked/version_0"] == states["run/version_9"] == "damaged"
    assert found["warm/version_0"]["state"] == "finished"
    assert "config.yaml is damaged" in found["warm/version_0"]["problems"][0]
    assert "evaluations.npz" in found["run/version_0"]["problems"][0]
    assert found["run/version_0"]["returns"]["source"] == "training"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("runs", "pausd"), "'pausd' is not there, as a path or as a run below lightning_logs. Did you mean 'paused'?"),
        (("runs", "--root", "nowhere"), "--root: nowhere is no directory"),
        (("show", "pausd"), "Did you mean 'paused'?"),
        (("diff", "run", "pausd"), "Did you mean 'paused'?"),
        (("report", "pausd", "--out", "x.html"), "Did you mean 'paused'?"),
        (("show", "run/7"), "'run/7' is not there"),
        (("diff", "lightning_logs", "run"), "'lightning_logs' is a directory of many runs; name a run directory"),
        (("diff", "empty", "run"), "'empty' is a directory without a run in it; name a run directory, which holds"),
        (("report", "run.yaml", "--out", "x.html"), "report: 'run.yaml' is a file outside of any run; name"),
        (("runs", "empty"), "runs: 'empty' is a directory without a run in it"),
    ],
)
def test_a_run_that_is_not_there(cli: Cli, runs: Path, words: tuple[str, ...], text: str) -> None:
    cli.config()
    (cli.cwd / "empty").mkdir()
    assert text in cli.error(*words)


@pytest.mark.parametrize("root_is_there", [True, False])
def test_a_copied_run_is_listed_by_its_path(cli: Cli, runs: Path, root_is_there: bool) -> None:
    shutil.copytree(runs / "paused" / "version_0", cli.cwd / "copy", symlinks=True)
    shutil.copytree(runs / "run", cli.cwd / "copies", symlinks=True)
    if not root_is_there:
        shutil.rmtree(runs)
    (found,) = json.loads(cli("runs", "copy", "--json").out)
    assert (found["name"], found["version"], found["state"]) == ("paused", "copy", "paused")
    both = json.loads(cli("runs", "copies", "--json").out)
    assert [each["path"] for each in both] == ["copies/version_1", "copies/version_0"]
    assert len(json.loads(cli("runs", cli.cwd, "--json").out)) == 2, "those of `copies`"


@pytest.mark.parametrize(
    ("name", "run"),
    [("run", "run/version_1"), ("run/0", "run/version_0"), ("run/version_0", "run/version_0"),
     ("lightning_logs/run", "run/version_1"), ("lightning_logs/run/version_0", "run/version_0")],
)  # fmt: skip
def test_show_takes_a_name(cli: Cli, runs: Path, name: str, run: str) -> None:
    assert f"lightning_logs/{run}/checkpoints/" in cli("show", name).out.splitlines()[0]


def test_an_exact_path_wins_over_a_name(cli: Cli, runs: Path) -> None:
    (cli.cwd / "run").symlink_to(runs / "paused" / "version_0")
    assert "/paused/version_0/" in cli("show", "run").out.splitlines()[0]
    assert cli("diff", "run", "run").out.startswith("a run (paused)\nb run (paused)\n")


def test_looking_changes_nothing(cli: Cli, runs: Path, digest: Callable[[Path], dict[str, str]]) -> None:
    before = digest(runs)
    cli("runs")
    cli("show", "resumed")
    cli("diff", "run/0", "run/1", expect=1)
    cli("report", "run", "resumed", "levels", "warm", "--out", "page.html")
    assert digest(runs) == before


def test_neither_torch_nor_lightning_is_imported(runs: Path) -> None:
    code = (
        "import sys; from lit_rl.cli.dispatch import run_command as run; run(['runs']); run(['diff', 'run', 'run']); "
    )
    code += (
        "run(['report', 'run', '--out', 'page.html']); print([m for m in ('torch', 'lightning') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=runs.parent, capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.splitlines()[-1] == "[]"
